"""Which input is read as images, and the errors for all other input."""

import numpy as np
import pytest
import torch
from examples import TAKE_IMAGES, answer_to_images, example, image_example
from photographs import write_images
from sklearn.base import clone
from tolerance import assert_close
from torch import nn

from sklinvariant import DescriptorSets
from sklinvariant.cluster import IICClusterer, IICSegmenter
from sklinvariant.feature_extraction import BackbonePatches, DensePatches
from sklinvariant.images import read_image
from sklinvariant.images._image_reader import check_range
from sklinvariant.images._pixels import fit_into
from sklinvariant.pooling import NestedInvariancePooler
from sklinvariant.transforms import ColorJitter, GaussianNoise, Rotation, Sobel

pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")
TRANSFORMS = [Rotation(), ColorJitter(), GaussianNoise(), Sobel()]


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_channels_first_is_refused(name):
    estimator, _ = image_example(name)
    images = np.random.RandomState(0).rand(4, 3, 12, 12)
    for X in (images, torch.as_tensor(images), list(images), images[:, :1], np.concatenate([images, images[:, :1]], 1)):
        with pytest.raises(ValueError, match=r"channels first.*transpose\(0, 2, 3, 1\)"):
            clone(estimator).fit(X)
    if name != "NestedInvariancePooler":  # takes no image_shape into account before the backbone
        with pytest.raises(ValueError, match="channels first"):
            clone(estimator).set_params(image_shape=(3, 12, 12)).fit(images.reshape(4, -1))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: type(transform).__name__)
def test_transforms_refuse_channels_first(transform):
    with pytest.raises(ValueError, match="channels first"):
        transform(np.zeros((2, 3, 8, 8)))
    with pytest.raises(ValueError, match="one image without the sample axis"):
        transform(np.zeros((16, 16, 3)))
    with pytest.raises(ValueError, match="images must be pixels, but got None"):
        transform(None)
    with pytest.raises(ValueError, match=r"DescriptorSets"):
        transform(DescriptorSets.from_bags(np.zeros((2, 5, 5))))


@pytest.mark.parametrize("shape", [(2, 4, 4, 64), (2, 3, 3, 8), (2, 1, 1, 5), (2, 4, 3, 9), (2, 3, 32, 3), (5, 3, 4)])
def test_tiny_images_are_images(shape):
    assert Rotation(n_steps=4)(np.zeros(shape)).shape == shape
    assert len(DensePatches(1).fit_transform(np.zeros(shape))) == shape[0]


@pytest.mark.parametrize("model", [DensePatches(4), IICClusterer(2)], ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("first", ["grey", "colour"])
def test_grey_and_colour_images_together_are_refused(model, first):
    mixed = [np.zeros((16, 16)), np.zeros((16, 16, 3))]
    mixed = mixed if first == "grey" else mixed[::-1]
    with pytest.raises(ValueError, match=r"channel\(s\), but image 0 .*np\.dstack\(\[image\] \* 3\)"):
        model.fit(mixed)


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_missing_files_are_named(name):
    estimator, images = image_example(name)
    fitted = clone(estimator).fit(images)
    names = [f"{i}.jpg" for i in range(24)]
    message = r"image 0: 0\.jpg cannot be read|X holds file names, but image_size is None"
    for X in (names, tuple(names), np.array(names), np.array(names, dtype=object)):
        with pytest.raises(ValueError, match=message):
            estimator.fit(X)
        with pytest.raises(ValueError, match=message):
            answer_to_images(fitted, X)


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_bags_are_no_images(name):
    estimator, images = image_example(name)
    bags = DescriptorSets.from_bags(images)
    with pytest.raises(ValueError, match=r"DescriptorSets.* needs"):
        clone(estimator).fit(bags)
    estimator.fit(images)
    with pytest.raises(ValueError, match=r"DescriptorSets.* needs"):
        answer_to_images(estimator, bags)


def test_bags_are_no_activations_and_no_rows():
    bags = DescriptorSets.from_bags(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match=r"DescriptorSets.* needs activations"):
        NestedInvariancePooler(None, stages=[("a", 1)]).fit(bags)
    estimator, _, y = example("PCAHasher")
    with pytest.raises(ValueError, match=r"DescriptorSets.* needs rows"):
        estimator.fit(bags, y)


@pytest.mark.parametrize("name", sorted(set(TAKE_IMAGES) - {"LocalDescriptors"}))
def test_one_image_is_not_several(name):
    estimator, images = image_example(name)
    if name in ("BackboneFeatures", "BackbonePatches", "NestedInvariancePooler"):
        network = nn.Conv2d(3, 2, 3)
        estimator.set_params(**{"backbone" if name == "NestedInvariancePooler" else "module": network})
    colour = np.stack([images] * 3, axis=-1)
    with pytest.raises(ValueError, match=r"looks like one image.*X\[None\]"):
        clone(estimator).fit(colour[0])
    estimator.fit(colour)
    for one in (colour[0], torch.as_tensor(colour[0])):
        with pytest.raises(ValueError, match=r"looks like one image.*X\[None\]"):
            answer_to_images(estimator, one)
    assert len(answer_to_images(estimator, colour[:1])) > 0


@pytest.mark.parametrize("name", sorted(set(TAKE_IMAGES) - {"LocalDescriptors", "IICSegmenter"}))
def test_one_grey_image_is_not_several(name):
    estimator, images = image_example(name)
    estimator.fit(images)
    with pytest.raises(ValueError, match=r"X\[None\]"):
        answer_to_images(estimator, images[0])


@pytest.mark.parametrize("name", TAKE_IMAGES)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.to_sparse(), "dense"),
        (lambda x: torch.nested.nested_tensor(list(x)), "nested tensor"),
        (lambda x: x.to("meta"), "meta device"),
        (lambda x: x.to(torch.complex64), "real numbers"),
        (lambda x: x > 0.5, "real numbers"),
        (lambda x: (x * 60000).to(torch.uint16), "integers must be in 0-255"),
        (lambda x: (x * 60000).to(torch.uint32), "integers must be in 0-255"),
        (lambda x: torch.full(x.shape, 2**63, dtype=torch.uint64), "integers must be in 0-255"),
    ],
    ids=["sparse", "nested", "meta", "complex", "bool", "uint16", "uint32", "uint64"],
)
@pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
def test_tensors_that_are_no_images(name, make, message):
    estimator, images = image_example(name)
    with pytest.raises((TypeError, ValueError), match=message):
        estimator.fit(make(torch.as_tensor(images)))


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_whole_numbers_of_any_dtype_are_pixels(name):
    estimator, images = image_example(name)
    pixels = torch.as_tensor((images * 127).round())
    expected = answer_to_images(estimator.fit(pixels.to(torch.uint8)), pixels.to(torch.uint8))
    for dtype in (torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int64):
        assert_close(answer_to_images(estimator, pixels.to(dtype)), expected)


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_short_floats_become_float32(name):
    estimator, images = image_example(name)
    estimator.fit(torch.as_tensor(images).to(torch.float8_e4m3fn))
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        short = torch.as_tensor(images).to(dtype)
        result = answer_to_images(estimator, short)
        assert result.dtype == torch.float32
        assert_close(result, answer_to_images(estimator, short.float()))


@pytest.mark.filterwarnings("ignore:.*quantize:DeprecationWarning", "ignore:.*quantize:UserWarning")
def test_quantised_tensors_are_the_numbers_they_stand_for():
    _, images = image_example("DensePatches")
    quantised = torch.quantize_per_tensor(torch.as_tensor(images), 1 / 255, 0, torch.quint8)
    bags = DensePatches(2).fit_transform(quantised)
    assert_close(bags.values, DensePatches(2).fit_transform(quantised.dequantize()).values)


def test_masked_pixels_are_refused():
    masked = np.ma.masked_less(np.random.RandomState(0).rand(3, 8, 8), 0.5)
    for X in (masked, list(masked)):
        with pytest.raises(ValueError, match=r"must not be masked\. Fill"):
            DensePatches(2).fit(X)
    assert len(DensePatches(2).fit_transform(np.ma.asarray(masked.filled(0)))) == 3


@pytest.mark.parametrize("n_channels", [1, 2, 4, 5, 6, 9])
@pytest.mark.parametrize("size", [5, 16])
@pytest.mark.parametrize("fill", ["mean", "edge"])
def test_images_of_many_channels_are_fitted_into_squares(n_channels, size, fill):
    images = np.random.RandomState(0).rand(2, 12, 10, n_channels).astype(np.float32)
    pooler = NestedInvariancePooler(nn.Identity(), stages=[("translation", 1)], image_size=size, fill=fill)
    together = pooler.set_params(normalize=False).fit_transform(images)
    assert together.shape == (2, n_channels)
    for channel in range(n_channels):  # each is fitted into the square as if it were alone
        alone = clone(pooler).fit_transform(images[..., channel : channel + 1])
        assert_close(together[:, channel : channel + 1], alone)


@pytest.mark.parametrize("scale", [1e150, 1e300])
def test_floats_beyond_single_precision(scale):
    images = np.random.RandomState(0).rand(3, 9, 9, 3) * scale
    for estimator in (BackbonePatches(nn.Conv2d(3, 2, 3)), NestedInvariancePooler(nn.Conv2d(3, 2, 3))):
        with pytest.raises(ValueError, match="compute in float32"):
            estimator.fit(images)


def test_a_network_that_overflows_says_so():
    images = np.full((2, 9, 9, 3), 1e38, np.float32)
    with pytest.raises(FloatingPointError, match="NaN or infinity for images from 1e\\+38"):
        BackbonePatches(nn.Sequential(nn.Identity(), _Square())).fit(images)


class _Square(nn.Module):
    def forward(self, x):
        return x * x


def test_rows_and_images_are_told_apart():
    rows, images = np.random.RandomState(0).rand(30, 36), np.random.RandomState(0).rand(30, 6, 6)
    model = IICClusterer(2, n_heads=1, max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=r"fitted on images, but X contains rows.*X\[None\] for a single image"):
        clone(model).fit(images).predict(images[0])
    with pytest.raises(ValueError, match="fitted on rows, but X contains images"):
        clone(model).fit(rows).predict(images)


def test_a_list_of_images_on_another_scale_names_the_image():
    images = list(np.random.RandomState(0).rand(3, 9, 9))
    model = IICSegmenter(2, half_window=1, width=2, max_epochs=1, n_heads=1, random_state=0).fit(images)
    with pytest.raises(ValueError, match="image 1 has floats"):
        model.predict([images[0], images[1] * 255, images[2]])


def test_the_range_of_a_tensor_is_checked_without_a_walk_over_its_images(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__iter__", lambda self: pytest.fail("the images were taken one by one"))
    check_range(torch.full((3, 2, 2), 40.0), [0.0, 50.0], "Model")
    with pytest.raises(ValueError, match="the images have integers 0-255"):
        check_range(torch.zeros((3, 2, 2), dtype=torch.uint8), [0.0, 50.0], "Model")


OF_ONE_SIZE = ["CanonicalRotation", "ConvolutionalFeatures", "EquivariantAutoencoder"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
@pytest.mark.parametrize("name", OF_ONE_SIZE)
def test_images_of_several_sizes_are_fitted_into_squares(name, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    folder = tmp_path / "photos"
    write_images(folder, 6)
    cv2.imwrite(str(folder / "wide.png"), np.full((20, 30, 3), 7, np.uint8))
    files = sorted(map(str, folder.iterdir()))
    images = [read_image(file) for file in files]
    squares = np.stack([fit_into(image, 12) for image in images])
    expected = example(name)[0].fit(squares).transform(squares)
    for X in (images, [torch.as_tensor(image) for image in images], files, str(folder)):
        model = example(name)[0].set_params(image_size=12).fit(X)
        np.testing.assert_allclose(model.transform(X), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.transform(np.stack(images[:6])), expected[:6], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"differ in size: .* Set image_size, to which they are resized"):
        example(name)[0].fit(images)
    with pytest.raises(ValueError, match="looks like one image"):
        model.transform(images[0])
    with pytest.raises(ValueError, match=r"image 1 contains NaN"):
        model.transform([np.zeros((9, 8, 3)), np.full((8, 9, 3), np.nan)])


@pytest.mark.parametrize("name", OF_ONE_SIZE)
def test_flat_rows_are_not_resized(name):
    estimator, X, _ = example(name)
    estimator.set_params(image_shape=(12, 12), image_size=5)
    assert estimator.fit(X.reshape(len(X), -1)).n_features_in_ == 144


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_one_image_of_pillow(name):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed").new("RGB", (20, 20))
    estimator, _, y = example(name)
    with pytest.raises(ValueError, match=r"X is one image of Pillow, .* Pass \[X\]"):
        estimator.fit(image, y)


def _objects(images):
    objects = np.empty(len(images), object)
    objects[:] = images
    return objects


def _pillow(images):
    return list(map(pytest.importorskip("PIL.Image", reason="Pillow is not installed").fromarray, images))


def _column(library, images):
    series = pytest.importorskip(library, reason=f"{library} is not installed").Series
    if library == "polars":
        return series("image", [image.tolist() for image in images])
    return series(images, name="image", index=[f"row {i}" for i in range(len(images))])


COLUMNS = {
    "objects": _objects,
    "a column of objects": lambda images: _objects(images)[:, None],
    "pandas": lambda images: _column("pandas", images),
    "a table of pandas": lambda images: _column("pandas", images).to_frame(),
    "pillow in pandas": lambda images: _column(
        "pandas", [pytest.importorskip("PIL.Image").fromarray(x) for x in images]
    ),
    "polars": lambda images: _column("polars", images),
    "a table of polars": lambda images: _column("polars", images).to_frame(),
    "pyarrow": lambda images: pytest.importorskip("pyarrow").array([image.tolist() for image in images]),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one epoch, on purpose
@pytest.mark.parametrize("name", TAKE_IMAGES)
@pytest.mark.parametrize("column", COLUMNS)
def test_columns_of_images_of_several_sizes_are_read_as_lists(name, column):
    rng = np.random.RandomState(0)
    images = [rng.randint(256, size=(14 + i, 16 - i, 3)).astype(np.uint8) for i in range(6)]
    estimator, _ = image_example(name)
    if "image_size" in estimator.get_params(deep=False):
        pytest.importorskip("cv2", reason="OpenCV is not installed")
        estimator.set_params(image_size=12)
    if name in ("BackboneFeatures", "BackbonePatches", "NestedInvariancePooler"):
        estimator.set_params(**{"backbone" if name == "NestedInvariancePooler" else "module": nn.Conv2d(3, 2, 3)})
    expected = answer_to_images(clone(estimator).fit(images), images)
    X = COLUMNS[column](images)
    found = answer_to_images(clone(estimator).fit(X), X)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose
@pytest.mark.parametrize("name", [*OF_ONE_SIZE, "IICClusterer"])
def test_another_image_size_after_fit(name):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    images = np.random.RandomState(0).rand(6, 12, 16)
    model = image_example(name)[0].set_params(image_size=12).fit(images)
    for X in (images, list(images)):
        with pytest.raises(ValueError, match=r"image_size is 8, but .* of 12 x 12\. Set image_size=12, or fit"):
            answer_to_images(model.set_params(image_size=8), X)
        with pytest.raises(ValueError, match=r"are 12 x 16 pixels, but .* of 12 x 12\. Set image_size=12, or fit"):
            answer_to_images(model.set_params(image_size=None), X)
    model = image_example(name)[0].fit(images[:, :8])
    with pytest.raises(ValueError, match=r"image_size is 12, but .* of 8 x 16\. Set image_size=None, or fit again"):
        answer_to_images(model.set_params(image_size=12), images)


@pytest.mark.parametrize("name", ["DensePatches", "IICSegmenter"])
def test_one_image_of_another_size_is_told_apart_from_rows(name):
    estimator, X = image_example(name)
    model = estimator.fit(X)
    with pytest.raises(ValueError, match=r"\(90, 70\) looks like one image without the sample axis.*Pass X\[None\]"):
        answer_to_images(model, np.random.RandomState(0).rand(90, 70))


def test_the_advice_on_channels_is_in_the_right_direction():
    grey, colour = np.random.RandomState(0).rand(4, 9, 9), np.random.RandomState(1).rand(4, 9, 9, 3)
    bytes_ = (colour * 255).astype(np.uint8)
    of_grey, of_colour = DensePatches(4).fit(grey), DensePatches(4).fit(colour)
    with pytest.raises(ValueError, match=r"3 channels, but .* of 1\. Convert the images to grey.*images\.mean\(-1\)"):
        of_grey.transform(colour)
    for images in (colour, bytes_):
        of_grey.transform(images.mean(-1).astype(images.dtype))  # as advised
    with pytest.raises(ValueError, match=r"1 channel\(?s\)?, but .* of 3\. Convert grey images to colour"):
        of_colour.transform(grey)
    of_colour.transform([np.dstack([image] * 3) for image in grey])


@pytest.mark.parametrize("name", ["ConvolutionalFeatures", "EquivariantAutoencoder", "IICClusterer"])
def test_colour_images_after_a_fit_on_grey_ones_are_refused_as_such(name):
    estimator, X = image_example(name)
    model = estimator.fit(X)
    for images in (np.stack([X] * 3, -1), [np.dstack([image] * 3) for image in X]):
        with pytest.raises(ValueError, match=r"3 channels, but .* fitted on images of 1\. Convert the images to grey"):
            answer_to_images(model, images)


@pytest.mark.parametrize("name", TAKE_IMAGES)
@pytest.mark.parametrize("position", [0, 1])
def test_what_is_no_image_of_a_list_is_named_once(name, position):
    estimator, X = image_example(name)
    for wrong, kind in [(None, "is None"), ("a.png", "is a str"), (np.zeros((9, 9), complex), "must hold real")]:
        images = list(X[:3])
        images[position] = wrong
        if position == 0 and isinstance(wrong, str):  # a list of file names, of which the others are arrays
            continue
        with pytest.raises(ValueError, match=f"image {position} {kind}") as found:
            estimator.fit(images)
        assert str(found.value).count("image ") == 1
    with pytest.raises(ValueError, match="names of image files and nothing else"):
        estimator.fit(["a.png", None])
    for unread in ([None], (None, None)):  # OpenCV returns None for a file that it cannot read
        with pytest.raises(ValueError, match=r"every item is None, but .*check the paths"):
            estimator.fit(unread)


@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_a_generator_of_images_should_be_a_list(name):
    estimator, X = image_example(name)
    with pytest.raises(ValueError, match=r"Pass .*a list of images"):
        estimator.fit(image for image in X)
    method = "predict" if hasattr(estimator, "predict") else "transform"
    with pytest.raises(ValueError, match="a list of images"):
        getattr(estimator.fit(X), method)(image for image in X)
