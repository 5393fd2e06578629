"""SqueezeNet: the sizes of its maps, and its number of weights."""

import torch

from sklinvariant.networks import SqueezeNet11Features


def test_maps_are_those_of_squeezenet():
    torch.manual_seed(0)
    network = SqueezeNet11Features().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 722_496
    sizes, x = {}, torch.rand(1, 3, 67, 67)
    for name, layer in network.named_children():
        x = layer(x)
        sizes[name] = tuple(x.shape[1:])
    assert sizes["conv1"] == (64, 33, 33)
    assert sizes["fire3"] == (128, 16, 16)
    assert sizes["fire5"] == (256, 7, 7)
    assert sizes["fire9"] == (512, 3, 3)


def test_a_fire_module_concatenates_its_expansions():
    torch.manual_seed(0)
    fire = SqueezeNet11Features().fire2
    x = torch.rand(1, 64, 5, 5)
    squeezed = fire.squeeze1x1(x).clamp(min=0)
    out = fire(x)
    torch.testing.assert_close(out[:, :64], fire.expand1x1(squeezed).clamp(min=0))
    torch.testing.assert_close(out[:, 64:], fire.expand3x3(squeezed).clamp(min=0))
