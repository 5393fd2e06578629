"""Weights of a network from files of several formats."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.feature_extraction import BackbonePatches


@pytest.fixture
def images():
    return np.random.RandomState(0).rand(3, 12, 10, 2)


def _network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    )


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
