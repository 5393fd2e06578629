"""Weights of a network from files of several formats."""

import numpy as np
import pytest
import torch
from examples import small_cnn
from tolerance import assert_close

from sklinvariant.feature_extraction import BackbonePatches


@pytest.mark.parametrize("kind", ["safetensors", "npz", "pt"])
def test_backbone_weights_from_a_file(two_channels, tmp_path, kind):
    network, path = small_cnn(), str(tmp_path / f"weights.{kind}")
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(network.state_dict(), path)
    elif kind == "npz":
        np.savez(path, **network.state_dict())
    else:
        torch.save(network.state_dict(), path)
    torch.manual_seed(1)
    loaded = BackbonePatches(small_cnn, weights=path).fit_transform(two_channels)
    assert_close(loaded, BackbonePatches(network).fit_transform(two_channels))
    with pytest.raises(ValueError, match="does not match Conv2d"):
        BackbonePatches(torch.nn.Conv2d(2, 5, 3), weights=path).fit(two_channels)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        BackbonePatches(network, weights=path + "x").fit(two_channels)
