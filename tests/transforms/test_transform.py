"""What all transformations have in common: the contract, dtypes, bad input."""

import numpy as np
import pytest
import torch
from examples import GEOMETRIC_TRANSFORMS, OTHER_TRANSFORMS
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
    warp,
)


@pytest.mark.parametrize("transform", [*GEOMETRIC_TRANSFORMS, *OTHER_TRANSFORMS], ids=str)
def test_contract(transform, images):
    """Seeds, shapes and array types; one row of parameters applies to all images; global generators are unchanged."""
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


def test_uint8_is_read_as_0_to_1(images):
    whole = (images * 255).astype(np.uint8)
    np.testing.assert_allclose(Rotation().apply(whole, [10]), Rotation().apply(whole / 255, [10]), atol=1e-5)
    half_turn = Rotation().apply(whole, [180])
    assert half_turn.dtype == np.uint8
    assert Rotation().apply(whole, [90]).dtype == np.float32  # 24 x 32 pixels: a quarter turn is no permutation


def test_photometric_keeps_its_place(images):
    first, last = ColorJitter(offset=0.3), Rotation(fill=0.0)
    chain = Compose([first, last])
    params = chain.sample(5, 0)
    np.testing.assert_allclose(
        chain.apply(images, params), last.apply(first.apply(images, params[:, :5]), params[:, 5:]), atol=1e-12
    )


def test_one_parameter_may_be_given_without_its_axis(images):
    angles = [0.0, 30.0, 60.0, 90.0, 120.0]
    expected = Rotation().apply(images, np.array(angles)[:, None])
    np.testing.assert_array_equal(Rotation().apply(images, angles), expected)
    with pytest.raises(ValueError, match=r"params must be of shape \(5, 1\) .* got \(2, 1\)"):
        Rotation().apply(images, angles[:2])


def test_gpu(images, device):
    tensor = torch.tensor(images, dtype=torch.float32, device=device)
    for transform in [*GEOMETRIC_TRANSFORMS, *OTHER_TRANSFORMS]:
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
