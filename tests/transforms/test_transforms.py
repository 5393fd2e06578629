"""Transformations: sampled, enumerated, applied, inverted, composed; against scikit-image and scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.transform import AffineTransform
from skimage.transform import warp as skimage_warp
from sklearn.base import clone
from tolerance import assert_close

from sklinvariant.transforms import (
    ColorJitter,
    Compose,
    Crop,
    Flip,
    GaussianNoise,
    Rotation,
    Scale,
    Shear,
    Sobel,
    Translation,
    pixel_matrix,
    warp,
)

GEOMETRIC = [
    Rotation(),
    Rotation(30),
    Rotation(n_steps=8),
    Scale(),
    Scale(0.5, 1.8317, n_steps=3),
    Translation(),
    Flip("both"),
    Shear(),
    Shear(20, axis="both"),
    Crop(),
    Compose([Rotation(20), Scale(), Flip()]),
]
OTHERS = [ColorJitter(), GaussianNoise(), Sobel(), Compose([Flip(), ColorJitter(), Sobel()])]
_IDS = [str(transform) for transform in [*GEOMETRIC, *OTHERS]]


@pytest.fixture
def images(global_random_seed):
    """Smooth colour images, so that interpolation errs little."""
    noise = np.random.RandomState(global_random_seed).rand(5, 24, 32, 3)
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3, 0), mode="nearest")
    return (smooth - smooth.min()) / np.ptp(smooth)


@pytest.mark.parametrize("transform", [*GEOMETRIC, *OTHERS], ids=_IDS)
def test_contract(transform, images):
    """Seeds, shapes, kinds of array; a row for all is that row for each; nothing global moves."""
    state = torch.get_rng_state()
    params = transform.sample(5, 3)
    assert_close(params, clone(transform).sample(5, 3))
    assert params.dtype == torch.float64
    assert params.numel() == 0 or not torch.equal(params, transform.sample(5, 4))
    orbit = transform.orbit()
    assert orbit.shape[1] == params.shape[1]
    changed = transform.apply(images, params)
    assert isinstance(changed, np.ndarray)
    assert changed.dtype == np.float64
    tensor = transform.apply(torch.tensor(images, dtype=torch.float32), params)
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor, changed, atol=2e-5)
    np.testing.assert_allclose(
        transform.apply(images, params[:1]), transform.apply(images, params[:1].expand(5, -1)), atol=1e-12
    )
    for i in range(5):  # a view does not depend on the batch that it is made in
        np.testing.assert_allclose(transform.apply(images[i : i + 1], params[i])[0], changed[i], atol=1e-12)
    assert_close(transform(images, 3), changed)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("transform", GEOMETRIC, ids=_IDS[: len(GEOMETRIC)])
@pytest.mark.parametrize("order", [0, 1])
def test_agrees_with_scikit_image_on_the_same_matrix(transform, order, images):
    params = transform.sample(5, 0)
    matrices = transform.matrix(params, images.shape[1:3])
    ours = warp(images, matrices, fill=0.25, interpolation=["nearest", "bilinear"][order])
    for image, matrix, answer in zip(images, matrices, ours, strict=True):
        inverse = AffineTransform(matrix=np.linalg.inv(pixel_matrix(matrix, image.shape[:2])))
        theirs = skimage_warp(image, inverse, order=order, mode="constant", cval=0.25)
        far = np.abs(answer - theirs).max(-1) > 1e-6
        assert far.mean() < (0.02 if order == 0 else 1e-9)  # nearest: ties fall to one or the other


def test_agrees_with_scipy_and_padding(images):
    matrix = (Rotation().matrix([[25.0]]) @ Shear().matrix([[10.0, 0]]))[0]
    back = np.linalg.inv(pixel_matrix(matrix, images.shape[1:3]))
    rows_first = back[:2, :2][::-1, ::-1]
    for fill, mode in (("edge", "nearest"), ("reflect", "reflect"), (0.5, "grid-constant")):
        theirs = ndimage.affine_transform(
            images[0, ..., 0], rows_first, back[:2, 2][::-1], order=1, mode=mode, cval=0.5
        )
        np.testing.assert_allclose(warp(images[:1, ..., 0], matrix, fill=fill)[0], theirs, atol=1e-6)


def test_rotation_is_counter_clockwise():
    image = np.arange(16.0).reshape(1, 4, 4) / 16
    np.testing.assert_array_equal(Rotation().apply(image, [90]), np.rot90(image, axes=(1, 2)))
    np.testing.assert_array_equal(Rotation().apply(image, [-90]), np.rot90(image, -1, axes=(1, 2)))


def test_directions():
    image = np.zeros((1, 5, 5))
    image[0, 2, 2] = 1
    assert Translation().apply(image, [0.2, 0.4])[0, 3, 4] == pytest.approx(1)
    assert Crop().apply(image, [0.5, 0.5, 0.2, 0.2]).min() > 0.2
    # the middle pixel stays, the row above leans to the right
    image[0, 1, 2] = 1
    leaning = Shear().apply(image, [45, 0])
    assert leaning[0, 1, 3] == pytest.approx(1)
    assert leaning[0, 2, 2] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(7, 7), (8, 8)])
def test_finite_groups_permute_pixels(dtype, size, global_random_seed):
    images = np.random.RandomState(global_random_seed).randint(255, size=(8, *size)).astype(dtype)
    group = Compose([Flip(), Rotation(n_steps=4)])
    elements = group.orbit()
    assert len(elements) == 8
    views = group.apply(images[:1].repeat(8, 0), elements)
    assert views.dtype == dtype
    assert len({view.tobytes() for view in views}) == 8
    np.testing.assert_array_equal(np.sort(views.reshape(8, -1)), np.sort(images[:1].reshape(1, -1)).repeat(8, 0))
    np.testing.assert_array_equal(group.invert(group.apply(images, elements), elements), images)
    # closed: any element after any other is an element
    matrices = group.matrix(elements).numpy()
    products = (matrices[:, None] @ matrices).reshape(-1, 9)
    assert {tuple(row) for row in products + 0.0} == {tuple(row) for row in matrices.reshape(-1, 9) + 0.0}


def test_uint8_is_read_as_0_to_1(images):
    whole = (images * 255).astype(np.uint8)
    np.testing.assert_allclose(Rotation().apply(whole, [10]), Rotation().apply(whole / 255, [10]), atol=1e-5)
    half_turn = Rotation().apply(whole, [180])
    assert half_turn.dtype == np.uint8
    assert Rotation().apply(whole, [90]).dtype == np.float32  # 24 x 32 pixels: a quarter turn is no permutation


def test_rotations_close_under_the_group():
    matrices = Rotation(n_steps=36).matrix(Rotation(n_steps=36).orbit()).numpy()
    products = (matrices[:, None] @ matrices).reshape(-1, 9)
    distance = np.abs(products[:, None] - matrices.reshape(1, -1, 9)).max(-1).min(1)
    assert distance.max() < 1e-12


@pytest.mark.parametrize("transform", GEOMETRIC, ids=_IDS[: len(GEOMETRIC)])
def test_the_inverse_undoes(transform, images):
    params = transform.sample(5, 1)
    there = transform.apply(images, params)
    seen = transform.invert(transform.apply(np.ones_like(images), params), params)[..., 0] > 1 - 1e-9
    assert seen.any()
    matrices = transform.matrix(params, images.shape[1:3])
    np.testing.assert_allclose(
        np.linalg.inv(matrices.numpy()) @ matrices.numpy(), np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-12
    )
    assert np.abs(transform.invert(there, params) - images)[seen].max() < 0.06


def test_composition_is_one_after_the_other(images):
    """The matrices multiply exactly; the images agree up to looking up once instead of three times."""
    parts = [Rotation(20, fill="edge"), Scale(0.7, 0.9, fill="edge"), Shear(10, fill="edge")]
    chain = Compose(parts)
    params = chain.sample(5, 0)
    one, two, three = params[:, :1], params[:, 1:2], params[:, 2:]
    assert_close(chain.matrix(params), parts[2].matrix(three) @ parts[1].matrix(two) @ parts[0].matrix(one))
    slow = parts[2].apply(parts[1].apply(parts[0].apply(images, one), two), three)
    centre = np.s_[:, 8:-8, 8:-8]
    np.testing.assert_allclose(chain.apply(images, params)[centre], slow[centre], atol=0.02)


def test_crops_show_nothing_but_the_image():
    """At the border too, where an enlarged pixel reaches over it by half of its own."""
    white = np.ones((200, 9, 12))
    for crop in (Crop(), Compose([Flip(), Crop()])):
        np.testing.assert_allclose(crop.apply(white, crop.sample(200, 0)), 1, rtol=1e-12)


def test_what_has_no_fill_takes_that_of_its_chain(images):
    parts = [Rotation(20, fill="reflect", interpolation="bicubic"), Flip(), Crop(interpolation="bicubic")]
    told = Compose(parts, fill="reflect", interpolation="bicubic")
    assert_close(Compose(parts)(images, 0), told(images, 0))
    assert_close(
        Compose([Compose(parts[1:]), parts[0]])(images, 0), Compose(told.transforms[1:] + parts[:1])(images, 0)
    )


def test_photometric_keeps_its_place(images):
    first, last = ColorJitter(offset=0.3), Rotation(fill=0.0)
    chain = Compose([first, last])
    params = chain.sample(5, 0)
    np.testing.assert_allclose(
        chain.apply(images, params), last.apply(first.apply(images, params[:, :5]), params[:, 5:]), atol=1e-12
    )


@pytest.mark.parametrize("inner", [slice(0, 2), slice(1, 3), slice(0, 3)])
def test_nested_with_photometric(inner, images):
    """A composition within another acts as if its parts stood there."""
    parts = [Rotation(20, fill="edge"), ColorJitter(), Flip()]
    nested = Compose([*parts[: inner.start], Compose(parts[inner]), *parts[inner.stop :]])
    params = nested.sample(5, 0)
    assert_close(nested.apply(images, params), Compose(parts).apply(images, params))
    with pytest.raises(ValueError, match="matrices and an inverse exist only for geometric"):
        nested.matrix(params)


def test_orbit_of_a_composition():
    orbit = Compose([Scale(), Rotation()]).orbit([2, 3])
    assert_close(orbit, [[0.5, 0], [0.5, 120], [0.5, 240], [1, 0], [1, 120], [1, 240]])


def test_color_jitter_is_the_four_steps(images):
    """Against brightness, contrast, saturation and hue, one after the other, each as it is usually written."""
    from skimage.color import rgb2yiq, yiq2rgb

    jitter = ColorJitter(clip=False)
    params = ColorJitter(0.5, 0.5, 0.5, 0.3, offset=0.2).sample(5, 0)
    weights = [0.299, 0.587, 0.114]
    for image, row, ours in zip(images, params.tolist(), jitter.apply(images, params), strict=True):
        brightness, contrast, saturation, hue, offset = row
        image = image * brightness + offset
        image = contrast * image + (1 - contrast) * (image @ weights).mean()
        image = saturation * image + (1 - saturation) * (image @ weights)[..., None]
        yiq, turn = rgb2yiq(image), 2 * np.pi * hue
        i, q = yiq[..., 1].copy(), yiq[..., 2].copy()
        yiq[..., 1], yiq[..., 2] = i * np.cos(turn) - q * np.sin(turn), i * np.sin(turn) + q * np.cos(turn)
        np.testing.assert_allclose(ours, yiq2rgb(yiq), atol=1e-6)


def test_color_jitter_of_grey(images):
    params = ColorJitter().sample(5, 0)
    grey = images[..., :1]
    colours = ColorJitter().apply(grey.repeat(3, -1), params)
    np.testing.assert_allclose(ColorJitter().apply(grey, params), colours[..., :1], atol=1e-6)


def test_noise_is_normal_and_its_own():
    black = np.zeros((3, 64, 64, 3), np.float32)
    noise = GaussianNoise().apply(black, [[0.5, 1], [0.5, 2], [0.25, 1]])
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.std((1, 2, 3)), [0.5, 0.5, 0.25], rtol=0.03)
    np.testing.assert_allclose(noise.mean((1, 2, 3)), 0, atol=0.02)
    np.testing.assert_allclose(noise[2] * 2, noise[0], atol=1e-6)  # the same seed
    flat = noise.reshape(3, -1)[:2]
    lagged = [
        np.corrcoef(flat[0], flat[1])[0, 1],
        *(np.corrcoef(flat[0, lag:], flat[0, :-lag])[0, 1] for lag in (1, 3, 64)),
    ]
    assert np.abs(lagged).max() < 0.04
    from scipy.stats import kstest

    assert kstest(flat[0] / 0.5, "norm").pvalue > 1e-3


def test_sobel_against_scipy(images):
    ours = Sobel()(images)
    assert ours.shape == (5, 24, 32, 6)
    for channel in range(3):
        for axis, answer in ((1, ours[0, ..., 2 * channel]), (0, ours[0, ..., 2 * channel + 1])):
            theirs = ndimage.sobel(images[0, ..., channel], axis=axis, mode="nearest") / 8
            np.testing.assert_allclose(answer, theirs, atol=1e-12)


def test_even_orbits():
    assert Rotation().orbit().shape == (36, 1)
    assert_close(Rotation(30).orbit(3)[:, 0], [-30, 0, 30])
    assert Scale().orbit().shape == (10, 1)
    assert_close(Translation(0.5).orbit(9).unique(), [-0.5, 0, 0.5])
    boxes = Crop((0.5, 0.5), ratio=(1, 1)).orbit(16)
    np.testing.assert_allclose(boxes[:, 2:], 0.5**0.5)
    assert len(boxes.unique(dim=0)) == 16
    assert {tuple(row) for row in Flip("both").sample(50, 0).tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert set(Rotation(n_steps=4).sample(50, 0)[:, 0].tolist()) == {0, 90, 180, 270}


def test_fill_by_the_mean_pixel(images):
    corner = Rotation(fill="mean").apply(images, [45])[:, 0, 0]
    np.testing.assert_allclose(corner, images.mean((1, 2)), atol=1e-12)
    np.testing.assert_allclose(Rotation(fill=(0.1, 0.2, 0.3)).apply(images, [45])[0, 0, 0], (0.1, 0.2, 0.3))


def test_gpu(images, device):
    tensor = torch.tensor(images, dtype=torch.float32, device=device)
    for transform in [*GEOMETRIC, *OTHERS]:
        params = transform.sample(5, 0)
        changed = transform.apply(tensor, params)
        assert changed.device == tensor.device
        np.testing.assert_allclose(changed.cpu(), transform.apply(images, params), atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: Rotation(degrees=(3, 1)).sample(2), "degrees must be"),
        (lambda x: Rotation(degrees=np.inf).orbit(), "'degrees' parameter of Rotation must be"),
        (lambda x: Rotation(n_steps=0).orbit(), "n_steps"),
        (lambda x: Rotation().orbit(0), "m must be"),
        (lambda x: Rotation().sample(-1), "n must be"),
        (lambda x: Rotation().apply(x, [[1.0], [2.0]]), r"params must be of shape \(5, 1\)"),
        (lambda x: Rotation().apply(x, [np.nan]), "NaN"),
        (lambda x: Rotation().apply(x[0, 0], [1]), "images must be of shape"),
        (lambda x: Rotation(fill=(1, 2)).apply(x, [1]), "fill must be"),
        (lambda x: Rotation(fill="median").apply(x, [1]), "fill"),
        (lambda x: Scale(0.9, 0.5).sample(1), "low, high"),
        (lambda x: Scale().apply(x, [0.0]), "positive"),
        (lambda x: Flip().apply(x, [0.5, 0]), "0 or 1"),
        (lambda x: Flip().orbit(3), "m must be None or 2"),
        (lambda x: Translation().orbit(5), "square"),
        (lambda x: Shear(95).sample(1), "within"),
        (lambda x: Crop(area=(0.5, 2)).sample(1), "area"),
        (lambda x: ColorJitter(brightness=(-1, 1)).sample(1), "brightness"),
        (lambda x: ColorJitter()(x[..., :2]), "1 or 3 channels"),
        (lambda x: GaussianNoise(-1.0).sample(1), "sigma"),
        (lambda x: Compose([Rotation(fill=1.0), Scale()])(x), "need the same fill"),
        (lambda x: Compose([Rotation(), "flip"])(x), r"transforms\[1\]"),
        (lambda x: Compose([Rotation(), Sobel()]).matrix([[3.0]]), "matrices and an inverse exist only for geometric"),
        (lambda x: Compose([Rotation()]).orbit([1, 2]), "m must be None or hold"),
        (lambda x: warp(x, np.zeros((3, 3))), "inverse"),
        (lambda x: warp(x, np.eye(2)), r"\(3, 3\)"),
        (lambda x: warp(x, np.eye(3), fill="median"), r"'fill' parameter of .*warp"),
        (lambda x: warp(x, np.eye(3), fill=None), r"'fill' parameter of .*warp"),
        (lambda x: warp(x, np.eye(3), fill=["red"]), "'fill' parameter of .*warp"),
        (lambda x: warp(x, np.eye(3), interpolation="cubic"), r"'interpolation' parameter of .*warp"),
        (lambda x: warp(x, np.eye(3), size=4), r"'size' parameter of .*warp"),
        (lambda x: warp(x, np.eye(3), size=(4, 0)), "size must be"),
        (lambda x: warp(x, np.eye(3), size=(4.0, 4)), "size must be"),
        (lambda x: Compose([Rotation()]).orbit(3), "m must be None or hold"),
    ],
)
def test_bad_input(call, message, images):
    with pytest.raises(ValueError, match=message):
        call(images)


def test_nothing_to_do(images):
    np.testing.assert_array_equal(Compose([])(images), images)
    assert Rotation().apply(images[:0], Rotation().sample(0)).shape == (0, 24, 32, 3)
