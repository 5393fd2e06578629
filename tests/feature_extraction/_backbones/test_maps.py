"""Maps of cells from the outputs of networks: channels last, tokens with and without class tokens."""

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import nn

from sklinvariant.feature_extraction import BackbonePatches

pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")


class Tokens(nn.Module):
    """A tiny vision transformer without attention: class and register tokens, followed by patches."""

    def __init__(self, names=("cls_token",), patch=4, by_convolution=True):
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv2d(3, 8, patch, patch) if by_convolution else None
        for name in names:
            setattr(self, name, nn.Parameter(torch.full((1, 1, 8 if by_convolution else 3), 99.0)))
        self.names = names

    def forward(self, x):
        x = self.embed(x) if self.embed is not None else nn.functional.avg_pool2d(x, self.patch)
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([*(getattr(self, name).expand(len(x), -1, -1) for name in self.names), tokens], dim=1)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (20, 8)])
@pytest.mark.parametrize("by_convolution", [True, False])
@pytest.mark.parametrize("names", [(), ("cls_token",), ("class_token",), ("cls_token", "dist_token"), ("mine",)])
def test_tokens_that_belong_to_no_patch_are_left_out(size, by_convolution, names):
    images = np.random.RandomState(0).rand(2, *size, 3).astype(np.float32)
    network = Tokens(names, by_convolution=by_convolution)
    bags = BackbonePatches(network).fit_transform(images)
    rows, columns = size[0] // 4, size[1] // 4
    assert bags.shape[1] == rows * columns
    assert np.abs(bags.values).max() < 50
    maps = BackbonePatches(network).fit(images).feature_maps(torch.device("cpu"))(torch.as_tensor(images))
    assert maps.shape[1:3] == (rows, columns)


def test_tokens_that_fit_no_grid():
    images = np.random.RandomState(0).rand(2, 16, 16, 3).astype(np.float32)
    with pytest.raises(ValueError, match=r"returns 13 tokens, which do not match a grid of patches .*another layer"):
        BackbonePatches(nn.Sequential(Tokens(("cls_token",)), _Few(13))).fit(images)
    free = nn.Sequential(Tokens((), by_convolution=False), _Few(13))  # nothing tells that these are patches
    assert BackbonePatches(free).fit_transform(images).shape[1] == 13


class _Few(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, tokens):
        return tokens[:, : self.n]


class ChannelsLast(nn.Module):
    """Maps with the channels last, as in Swin transformers."""

    def __init__(self, width=8):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 4, 4)

    def forward(self, x):
        return self.conv(x).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("size", "width"), [((16, 16), 5), ((16, 16), 96), ((24, 40), 8), ((40, 24), 96)])
def test_maps_with_channels_last(size, width):
    images = np.random.RandomState(0).rand(2, *size, 3).astype(np.float32)
    network = ChannelsLast(width)
    last = BackbonePatches(network).fit_transform(images)
    first = BackbonePatches(network.conv).fit_transform(images)
    assert last.shape == first.shape == (2, size[0] * size[1] // 16, width)
    assert_close(last.values, first.values)


def test_a_network_that_gives_no_map_names_the_layers():
    images = np.random.RandomState(0).rand(2, 16, 16, 3).astype(np.float32)
    head = nn.Sequential(ChannelsLast(), nn.Flatten(), nn.LazyLinear(10))
    with pytest.raises(ValueError, match=r"shape \(1, 10\), but a feature map .*\['0', '1', '2'\]"):
        BackbonePatches(head).fit(images)
    head.__dict__["forward_features"] = head[0].forward  # a method of timm's models
    with pytest.raises(ValueError, match=r"forward_features; for models of timm"):
        BackbonePatches(head).fit(images)

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ValueError, match="returns tuple, but a feature map"):
        BackbonePatches(Pair()).fit(images)


@pytest.mark.parametrize(("name", "cells"), [("vit_tiny_patch16_224", 196), ("swin_tiny_patch4_window7_224", 49)])
def test_models_of_timm(name, cells):
    timm = pytest.importorskip("timm", reason="timm, which needs torchvision, is not installed", exc_type=ImportError)
    images = np.random.RandomState(0).rand(1, 224, 224, 3).astype(np.float32)
    network = timm.create_model(name, num_classes=0, global_pool="")
    assert BackbonePatches(network).fit_transform(images).shape[1] == cells
    with pytest.raises(ValueError, match="forward_features"):
        BackbonePatches(timm.create_model(name)).fit(images)
