"""Backbones as modules, against `BackbonePatches` and `BackboneFeatures`."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from sklinvariant import NestedInvariancePooler, to_module
from sklinvariant.feature_extraction import BackboneFeatures, BackbonePatches
from sklinvariant.transforms import Rotation

IMAGES = np.random.RandomState(0).randint(256, size=(3, 20, 16, 3)).astype(np.uint8)


def network():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(3, 4, 3, stride=2)
    return torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Conv2d(4, 5, 3))


def computed(estimator, images=IMAGES):
    with torch.no_grad():
        return to_module(estimator)(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize(
    "settings",
    [{}, {"mean": [0.1, 0.2, 0.3], "std": 0.5, "bgr": True}, {"image_size": 12}, {"layer": "2"}, {"mean": 0.5}],
    ids=str,
)
def test_the_module_gives_the_features(settings):
    rows = BackboneFeatures(network(), **settings).fit(IMAGES)
    np.testing.assert_allclose(computed(rows), rows.transform(IMAGES), rtol=1e-5, atol=1e-5)
    patches = BackbonePatches(network(), **settings).fit(IMAGES)
    bags = np.stack([np.asarray(bag) for bag in patches.transform(IMAGES)])
    np.testing.assert_allclose(computed(patches), bags, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"layer": "2"}, {"image_size": 12}], ids=str)
def test_the_module_is_exported_and_compiled(settings):
    module, x = to_module(BackbonePatches(network(), **settings).fit(IMAGES)), torch.from_numpy(IMAGES)
    batch = {0: torch.export.Dim.AUTO}
    exported = torch.export.export(module, (x,), dynamic_shapes=(batch,), strict=False).module()
    torch.testing.assert_close(exported(x[:2]), module(x[:2]), rtol=1e-5, atol=1e-5)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-5, atol=1e-5)


def test_grey_images_are_repeated():
    grey = IMAGES[..., 0]
    rows = BackboneFeatures(network()).fit(grey)
    np.testing.assert_allclose(computed(rows, grey), rows.transform(grey), rtol=1e-5, atol=1e-5)


def test_a_pooler_of_a_backbone():
    pooler = NestedInvariancePooler(network(), transforms={"rotation": Rotation(n_steps=4)}, image_size=16)
    pipeline = make_pipeline(pooler).fit(IMAGES[:, 2:18])
    expected = pipeline.transform(IMAGES[:, 2:18])
    np.testing.assert_allclose(computed(pipeline, IMAGES[:, 2:18]), expected, rtol=1e-5, atol=1e-5)


def test_an_onnx_file_is_served_as_it_is(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x, file = torch.zeros(2, 3, 16, 16), str(tmp_path / "network.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network().eval(), (x,), dynamo=True, verbose=False).save(file)
    rows = BackboneFeatures(file).fit(IMAGES[:2, 2:18])
    with pytest.raises(ValueError, match=r"is an ONNX file, which torch cannot export. Serve the file itself"):
        to_module(rows)
