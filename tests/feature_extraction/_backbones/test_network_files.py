"""Networks from ONNX, TorchScript and torch.export files: equal to the network that was written."""

import pickle

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import nn

import sklinvariant
from sklinvariant import BackboneFeatures, BackbonePatches, NestedInvariancePooler
from sklinvariant.feature_extraction._backbones._network_files import in_fixed_batches

pytestmark = pytest.mark.filterwarnings("ignore")  # of the exporters
KINDS = ["onnx", "pt2", "ts"]


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 5, 3)).eval()


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(5, 12, 12, 3).astype(np.float32)


def write(network, path, *, batch=None, **options):
    """Write a file of the network, for any number of images or for ``batch`` images."""
    example = torch.zeros(batch or 2, 3, 12, 12)
    dynamic = None if batch else ({0: torch.export.Dim("n", min=1)},)
    if path.suffix == ".ts":
        torch.jit.trace(network, example).save(path)
    elif path.suffix == ".pt2":
        torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), path)
    else:
        for library in ("onnxruntime", "onnx", "onnxscript"):
            pytest.importorskip(library, reason="the extra onnx is not installed")
        torch.onnx.export(network, (example,), path, dynamic_shapes=dynamic, dynamo=True, verbose=False, **options)
    return str(path)


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_computes_as_its_network(kind, batch, network, images, tmp_path):
    path = write(network, tmp_path / f"network.{kind}", batch=batch)
    expected = BackbonePatches(network).fit_transform(images)
    assert_close(BackbonePatches(path).fit_transform(images).values, expected.values)
    assert_close(BackboneFeatures(path).fit_transform(images), np.asarray(expected).mean(1))


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_images_are_resized_to_the_size_of_the_input(kind, network, images, tmp_path):
    path = write(network, tmp_path / f"network.{kind}")
    large = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)
    assert BackbonePatches(path).fit_transform(large).shape == BackbonePatches(path).fit_transform(images).shape


def test_a_fitted_estimator_contains_the_onnx_file(network, images, tmp_path):
    path = write(network, tmp_path / "network.onnx")
    model = BackboneFeatures(path).fit(images)
    expected = model.transform(images)
    sklinvariant.save(model, tmp_path / "model.safetensors")
    for file in tmp_path.glob("network.onnx*"):  # the weights may be in a second file
        file.unlink()
    for again in (pickle.loads(pickle.dumps(model)), sklinvariant.load(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(again.transform(images), expected)


def test_a_layer_is_an_output_of_an_onnx_file(images, tmp_path):
    class TwoOutputs(nn.Module):
        def forward(self, x):
            return x, x.mean((2, 3))

    path = write(TwoOutputs(), tmp_path / "two.onnx", output_names=["map", "vector"])
    assert_close(BackboneFeatures(path, layer="vector").fit_transform(images), images.mean((1, 2)))
    assert BackbonePatches(path).fit_transform(images).shape == (5, 144, 3)
    with pytest.raises(ValueError, match=r"layer='x' is not a layer .*\['map', 'vector'\]"):
        BackbonePatches(path, layer="x").fit(images)


def test_an_onnx_file_is_a_backbone_of_the_pooler(network, images, tmp_path):
    path = write(network, tmp_path / "network.onnx")
    assert_close(
        NestedInvariancePooler(path).fit_transform(images), NestedInvariancePooler(network).fit_transform(images)
    )


def test_files_that_hold_no_network(network, images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"module='.*none\.onnx' does not exist"):
        BackbonePatches(str(tmp_path / "none.onnx")).fit(images)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="state dict: pass the network as module, and this file as weights"):
        BackbonePatches(tmp_path / "weights.pt").fit(images)
    for kind in KINDS:
        (tmp_path / f"bad.{kind}").write_bytes(b"nothing")
        if kind == "onnx":
            pytest.importorskip("onnx", reason="the extra onnx is not installed")
        with pytest.raises(ValueError, match=rf"bad\.{kind}' cannot be read as a network .* are accepted"):
            BackbonePatches(str(tmp_path / f"bad.{kind}")).fit(images)


def test_two_inputs_are_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    x = torch.zeros(1, 3, 4, 4)
    torch.export.save(torch.export.export(Two(), (x, x)), tmp_path / "two.pt2")
    with pytest.raises(ValueError, match="it takes 2 inputs, but one of images"):
        BackbonePatches(str(tmp_path / "two.pt2")).fit(np.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize(("size", "lengths"), [(None, [5]), (2, [2, 2, 2]), (5, [5]), (7, [7])])
def test_parts_have_the_size_of_the_input(size, lengths):
    x = torch.arange(5.0)[:, None]
    parts = in_fixed_batches(x, size)
    assert [len(part) for part in parts] == lengths
    assert torch.equal(torch.cat(parts)[:5], x)
