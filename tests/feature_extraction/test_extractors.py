"""Images to bags, against the libraries' own way of doing it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from tolerance import assert_close

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords
from sklinvariant.feature_extraction import BackbonePatches, DensePatches, LocalDescriptors, OnDescriptors


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(3, 12, 10, 2)


def test_dense_patches_are_all_patches(images):
    bags = DensePatches(4, stride=1).fit_transform(images)
    for image, bag in zip(images, bags, strict=True):
        np.testing.assert_array_equal(bag, extract_patches_2d(image, (4, 4)).reshape(len(bag), -1))


def test_dense_patches_stride_shape_and_kind(images):
    assert DensePatches((3, 5), stride=2).fit_transform(images).shape == (3, 5 * 3, 30)
    flat = DensePatches(4, image_shape=(12, 10, 2)).fit_transform(images.reshape(3, -1))
    assert_close(flat, DensePatches(4).fit_transform(images))
    tensor = DensePatches(4).fit_transform(torch.as_tensor(images))
    assert isinstance(tensor.values, torch.Tensor)
    integers = DensePatches(4).fit_transform((images * 255).round().astype(np.uint8))
    np.testing.assert_allclose(integers.values, flat.values, atol=1 / 255)
    assert integers.dtype == np.float32


@pytest.mark.parametrize("normalize", ["contrast", "l2"])
def test_dense_patches_normalized(images, normalize):
    values = DensePatches(4, normalize=normalize).fit_transform(images).values
    if normalize == "l2":
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1)
    else:
        np.testing.assert_allclose(values.mean(1), 0, atol=1e-12)
    assert np.isfinite(DensePatches(4, normalize=normalize).fit_transform(np.zeros((1, 8, 8))).values).all()


def test_errors_of_images(images):
    with pytest.raises(ValueError, match="patch_size=20 is larger than the images, 12 x 10"):
        DensePatches(20).fit(images)
    images[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="image 1 contains NaN"):
        DensePatches(4).fit(images)
    with pytest.raises(ValueError, match="differ in size"):
        DensePatches(4).fit([np.zeros((8, 8)), np.zeros((9, 8))])
    with pytest.raises(ValueError, match="image_shape"):
        DensePatches(4, image_shape=(5, 5)).fit(np.zeros((2, 24)))


def _photograph():
    return np.add.outer(np.arange(128) ** 2 % 97, np.arange(160) ** 2 % 89).astype(np.uint8)


def test_sift_is_opencv_s():
    cv2 = pytest.importorskip("cv2")
    image = _photograph()
    _, expected = cv2.SIFT_create(500).detectAndCompute(image, None)
    bags = LocalDescriptors(n_jobs=2).fit_transform([image, image[:40], np.zeros((30, 30), np.uint8)])
    assert_close(bags[0], expected, atol=1)  # of 255, whole numbers
    assert bags.sizes[2] == 0  # nothing to see: an empty bag
    assert bags.shape == (3, None, 128)


@pytest.mark.parametrize(("method", "width"), [("sift", 128), ("rootsift", 128), ("orb", 256), ("daisy", 200)])
def test_local_descriptors_on_a_grid(method, width):
    pytest.importorskip("cv2")
    pytest.importorskip("skimage")
    image = np.stack([_photograph()] * 3, axis=-1) / 255
    bags = LocalDescriptors(method, step=8).fit_transform(image[None])
    assert bags.shape[2] == width
    assert len(bags[0]) > 10
    assert np.isfinite(bags.values).all()


def test_a_bad_image_is_named():
    with pytest.raises(ValueError, match="image 1 contains NaN"):
        LocalDescriptors().fit([np.zeros((9, 9)), np.full((9, 9), np.nan)])


def _network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    )


def test_backbone_patches_are_the_cells(images, device):
    network = _network()
    x = torch.as_tensor(images, dtype=torch.float32).permute(0, 3, 1, 2)
    expected = network.eval()[:3](x).detach()
    network.train()
    bags = BackbonePatches(network, layer="2", batch_size=2, device=device).fit_transform(images)
    assert bags.shape == (3, 80, 5)
    np.testing.assert_allclose(bags[1], expected[1].flatten(1).T, atol=1e-5)
    assert network.training  # the user's module stays as it was


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pt"])
def test_backbone_weights_from_a_file(images, tmp_path, kind):
    network, path = _network(), str(tmp_path / f"weights.{kind}")
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(network.state_dict(), path)
    elif kind == "npz":
        np.savez(path, **network.state_dict())
    else:
        torch.save(network.state_dict(), path)
    torch.manual_seed(1)
    loaded = BackbonePatches(_network, weights=path).fit_transform(images)
    assert_close(loaded, BackbonePatches(network).fit_transform(images))
    with pytest.raises(ValueError, match="does not match Conv2d"):
        BackbonePatches(torch.nn.Conv2d(2, 5, 3), weights=path).fit(images)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        BackbonePatches(network, weights=path + "x").fit(images)


def _no_network(name, **weights):
    raise ValueError(f"no model {name}")


def test_backbone_errors(images, monkeypatch):
    with pytest.raises(ValueError, match="layer='9' is not a layer of the network"):
        BackbonePatches(_network(), layer="9").fit(images)
    with pytest.raises(ValueError, match=r"layer=None returns shape \(1, 240\)"):
        BackbonePatches(torch.nn.Flatten()).fit(images)
    for library in ("torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, library, SimpleNamespace(get_model=_no_network, create_model=_no_network))
    with pytest.raises(ValueError, match="module='no_such_network' could not be created"):
        BackbonePatches("no_such_network").fit(images)
    for library in ("torchvision", "torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, library, None)  # whether it is installed or not
    with pytest.raises(ImportError, match="torchvision or timm"):
        BackbonePatches("no_such_network").fit(images)


def test_on_descriptors_is_the_transformer_on_rows(ragged):
    bags = OnDescriptors(PCA(2)).fit_transform(ragged)
    assert bags.shape == (9, None, 2)
    assert_close(bags.values, PCA(2).fit_transform(np.concatenate(ragged)))
    assert isinstance(
        OnDescriptors(PCA(2)).fit_transform(DescriptorSets.from_bags(ragged).to("cpu")).values, torch.Tensor
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 4)])
def test_on_descriptors_computes_in_one_precision(dtype, shape):
    X = np.random.RandomState(0).randint(0, 9, shape).astype(dtype)
    expected = np.float64 if dtype == np.float64 else np.float32
    assert OnDescriptors(StandardScaler()).fit_transform(X).dtype == expected
    bfloat16 = torch.as_tensor(X.astype(np.float32)).to(torch.bfloat16)
    assert OnDescriptors(StandardScaler()).fit_transform(bfloat16).dtype == torch.float32


def test_numbers_that_are_no_pixels_are_float32():
    X = np.random.RandomState(0).randint(0, 900, (6, 4))
    for rows, dtype in ((X, np.float32), (X.astype(np.float16), np.float32), (X / 3, np.float64)):
        assert DensePatches(1).fit_transform(rows).dtype == dtype


def test_all_in_one_pipeline(images):
    pipeline = make_pipeline(
        DensePatches(4), OnDescriptors(PCA(3, whiten=True)), OnDescriptors(Normalizer()), BagOfWords(4, random_state=0)
    ).set_output(transform="pandas")
    frame = pipeline.fit_transform(images)
    assert list(frame.columns) == list(pipeline.get_feature_names_out()) == [f"bagofwords{i}" for i in range(4)]
