"""Cells of networks: the layer at which the forward pass stops, the fitted weights, and real weights."""

import csv
import functools
import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from examples import small_cnn
from sklearn.metrics import pairwise_distances
from sklearn.preprocessing import normalize
from sklearn.utils.estimator_checks import check_estimator
from tolerance import assert_close
from torch import nn

from sklinvariant.aggregation import BagOfWords
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.feature_extraction._backbones._weights import load_weights
from sklinvariant.networks import SqueezeNet11Features


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(3, 9, 8, 3).astype(np.float32)


def test_the_run_stops_at_the_layer(images):
    """The later layers would not accept images of this size, and the ReLU overwrites the output of the layer."""
    convolution = nn.Conv2d(3, 4, 3)
    network = nn.Sequential(convolution, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(7, 2))
    cells = BackbonePatches(network, layer="0").fit_transform(images).values
    x = torch.as_tensor(images).permute(0, 3, 1, 2)
    np.testing.assert_allclose(cells, convolution(x).detach().permute(0, 2, 3, 1).reshape(-1, 4), atol=1e-6)
    assert cells.min() < 0


def test_what_a_callable_draws_is_kept(images):
    before = torch.get_rng_state()
    backbone = BackbonePatches(functools.partial(nn.LazyConv2d, 4, 3)).fit(images)
    first = backbone.transform(images)
    torch.rand(3)
    assert backbone.transform(images) == first
    assert pickle.loads(pickle.dumps(backbone)).transform(images) == first
    assert_close(BackbonePatches(functools.partial(nn.LazyConv2d, 4, 3)).fit_transform(images), first)
    torch.set_rng_state(before)
    backbone.fit(images)
    assert torch.equal(torch.get_rng_state(), before)


def test_fitted_weights_stay(images):
    network = nn.Conv2d(3, 4, 3)
    backbone = BackbonePatches(network).fit(images)
    first = backbone.transform(images)
    with torch.no_grad():
        network.weight.zero_()
    assert backbone.transform(images) == first


def test_mean_std_bgr_and_size(images):
    kept = BackbonePatches(nn.Identity(), bgr=True, mean=[0.1, 0.2, 0.3], std=[1, 2, 4]).fit_transform(images)
    expected = (images[..., ::-1] - np.array([0.1, 0.2, 0.3])) / [1, 2, 4]
    np.testing.assert_allclose(kept.values, expected.reshape(-1, 3), atol=1e-6)
    assert BackbonePatches(nn.Identity(), image_size=(4, 6)).fit_transform(images).shape == (3, 24, 3)
    grey = BackbonePatches(nn.Conv2d(3, 5, 1)).fit_transform(images[..., 0])
    assert grey.shape == (3, 72, 5)


def test_tokens_are_descriptors(images):
    class Tokens(nn.Module):
        def forward(self, x):
            return x.flatten(2).transpose(1, 2)

    assert_close(BackbonePatches(Tokens()).fit_transform(images), BackbonePatches(nn.Identity()).fit_transform(images))


def test_containers_and_devices(images, device):
    network = nn.Conv2d(3, 4, 3)
    expected = BackbonePatches(network, device="cpu").fit_transform(images)
    tensor = BackbonePatches(network, batch_size=2).fit_transform(torch.as_tensor(images, device=device))
    assert tensor.values.device.type == device
    np.testing.assert_allclose(tensor.values.cpu(), expected.values, atol=1e-4)
    back = BackbonePatches(network, device=device).fit_transform(torch.as_tensor(images))
    assert back.values.device.type == "cpu"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"module": nn.Conv2d(2, 4, 3)}, r"the network does not accept images of shape \(1, 3, 9,"),
        ({"module": nn.Conv2d(3, 4, 20)}, r"the network does not accept images of shape \(1, 3, 9,"),
        ({"module": nn.Identity(), "std": 0}, "std must be positive"),
        ({"module": nn.Identity(), "mean": (1, 2)}, r"mean=\(1, 2\) is not valid for images of 3 channels"),
        ({"module": nn.Identity(), "mean": ["a"]}, "'mean' parameter of BackbonePatches"),
        ({"module": nn.Identity(), "image_size": (3,)}, r"image_size=\(3,\) is not valid"),
        ({"module": dict}, "module=<class 'dict'> returned a dict"),
        ({"module": nn.Identity(), "device": "nowhere"}, "device='nowhere'"),
        ({"module": nn.ModuleDict({"a": nn.Identity()}), "layer": "b"}, "layer='b' is not a layer of the network"),
    ],
)
def test_errors(images, params, message):
    with pytest.raises(ValueError, match=message):
        BackbonePatches(**params).fit(images)


def test_check_estimator_with_weights():
    results = check_estimator(BackbonePatches(functools.partial(nn.LazyConv2d, 2, 1)), on_skip=None)
    assert sum(result["status"] == "passed" for result in results) >= 45


def test_unreadable_weights(tmp_path):
    for name in ("a.npz", "a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match="cannot be read"):
            load_weights(nn.Conv2d(1, 1, 1), tmp_path / name)


_SQUEEZENET = {"mean": np.array([104, 117, 123]) / 255, "std": 1 / 255, "bgr": True}


def test_keras_weights_are_read_right(shared_data):
    """The first layers against convolutions of the file's own arrays, pixel by pixel."""
    path = shared_data / "weights" / "squeezenet_v1.1_imagenet_notop.npz"
    image = np.random.RandomState(0).randint(256, size=(11, 11, 3)).astype(np.uint8)
    cells = BackbonePatches(SqueezeNet11Features, layer="relu1", weights=path, **_SQUEEZENET).fit_transform(image[None])
    with np.load(path) as arrays:
        kernel, bias = arrays["conv1/kernel"], arrays["conv1/bias"]
    x = image[..., ::-1] - np.array([104, 117, 123])
    windows = [x[i : i + 3, j : j + 3] for i in range(0, 9, 2) for j in range(0, 9, 2)]
    expected = [np.maximum(np.einsum("ijc,ijcd->d", window, kernel) + bias, 0) for window in windows]
    np.testing.assert_allclose(cells[0], expected, rtol=1e-4, atol=1e-3)


def _objects(path):
    """(images, object): 8 views of each of 40 objects of ETH-80."""
    import cv2

    images, objects = [], []
    with zipfile.ZipFile(path) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")))
        for name in sorted({row["object"] for row in rows})[::2]:
            for row in [row for row in rows if row["object"] == name][::5][:8]:
                image = cv2.imdecode(np.frombuffer(archive.read(row["path"]), np.uint8), cv2.IMREAD_COLOR)
                images.append(image[..., ::-1])
                objects.append(name)
    return np.stack(images), np.array(objects)


def test_real_weights_know_an_object_again(shared_data):
    """The nearest neighbour shows the same object more often with features of the network than with pixels."""
    pytest.importorskip("cv2")
    images, objects = _objects(shared_data / "eth80_128.zip")

    def same_object(features):
        distances = pairwise_distances(features)
        np.fill_diagonal(distances, np.inf)
        return np.mean(objects[distances.argmin(1)] == objects)

    path = shared_data / "weights" / "squeezenet_v1.1_imagenet_notop.npz"
    bags = BackbonePatches(SqueezeNet11Features, weights=path, **_SQUEEZENET).fit_transform(images)
    learned = same_object(normalize(np.asarray(bags).mean(1)))
    assert learned > same_object(images[:, ::4, ::4].reshape(len(images), -1) / 255) + 0.1, learned


def test_cells_go_on_to_an_aggregation(images):
    bags = BackbonePatches(SqueezeNet11Features, layer="fire3", image_size=48).fit_transform(images)
    assert bags.shape == (3, 11 * 11, 128)
    assert BagOfWords(3, random_state=0).fit_transform(bags).shape == (3, 3)


def test_backbone_patches_are_the_cells(two_channels, device):
    network = small_cnn()
    x = torch.as_tensor(two_channels, dtype=torch.float32).permute(0, 3, 1, 2)
    expected = network.eval()[:3](x).detach()
    network.train()
    bags = BackbonePatches(network, layer="2", batch_size=2, device=device).fit_transform(two_channels)
    assert bags.shape == (3, 80, 5)
    np.testing.assert_allclose(bags[1], expected[1].flatten(1).T, atol=1e-5)
    assert network.training  # the user's module stays as it was


_NO_MODELS = SimpleNamespace(list_models=list, is_model=lambda name: False)


def test_backbone_errors(two_channels, monkeypatch):
    with pytest.raises(ValueError, match="layer='9' is not a layer of the network"):
        BackbonePatches(small_cnn(), layer="9").fit(two_channels)
    with pytest.raises(ValueError, match=r"layer=None returns shape \(1, 240\)"):
        BackbonePatches(torch.nn.Flatten()).fit(two_channels)
    body = nn.Sequential(OrderedDict(stem=nn.Conv2d(2, 4, 3), block=nn.Sequential(nn.ReLU())))
    wrapped = nn.Sequential(OrderedDict(network=nn.Sequential(OrderedDict(body=body, flat=nn.Flatten()))))
    with pytest.raises(ValueError, match=r"returns a map is BackbonePatches\(network, layer='network\.body'\)"):
        BackbonePatches(wrapped).fit(two_channels)
    for library in ("torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, library, _NO_MODELS)
    with pytest.raises(ValueError, match="module='no_such_network' could not be created"):
        BackbonePatches("no_such_network").fit(two_channels)
    for library in ("torchvision", "torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, library, None)  # whether it is installed or not
    with pytest.raises(ImportError, match="torchvision or timm"):
        BackbonePatches("no_such_network").fit(two_channels)
