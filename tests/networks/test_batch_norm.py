"""Batch normalisation by the whole batch of two processes, against torch's with one."""

import copy

import pytest
import torch
from tolerance import assert_close
from torch import nn
from two_processes import share_between_two_threads

from sklinvariant.networks import BatchNorm2d, GroupBatchNorm2d, normalize_by_whole_batch


def without_biases():
    """As BatchNorm2d(3, bias=False) of later versions of torch."""
    layer = nn.BatchNorm2d(3)
    layer.register_parameter("bias", None)
    return layer


LAYERS = {
    "rows": (nn.BatchNorm1d(3), (5, 3)),
    "signals": (nn.BatchNorm1d(3, momentum=None), (5, 3, 4)),
    "images": (nn.BatchNorm2d(3), (4, 3, 2, 2)),
    "images without weights": (nn.BatchNorm2d(3, affine=False, track_running_stats=False), (4, 3, 2, 2)),
    "images without biases": (without_biases(), (4, 3, 2, 2)),
    "volumes": (nn.BatchNorm3d(3), (3, 3, 2, 1, 2)),
    "one value each": (nn.BatchNorm1d(3), (2, 3)),
}


def results_of(layer, share):
    """The output for two batches in a row, the gradient of the input, and the running averages."""
    layer, share = copy.deepcopy(layer), share.clone().requires_grad_()
    layer(share.detach() ** 2)
    output = layer(share)
    output.pow(3).sum().backward()  # this loss is not summed over processes, so its gradients are sums
    return output.detach(), share.grad, list(layer.buffers())


@pytest.mark.parametrize("name", LAYERS)
def test_as_in_torch_with_one_process(monkeypatch, name):
    layer, shape = LAYERS[name]
    layer = layer.double()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output, gradient, averages = results_of(layer, x)
    ours = normalize_by_whole_batch(copy.deepcopy(layer))
    shared = share_between_two_threads(monkeypatch, lambda share: results_of(ours, share), x)
    assert_close(torch.cat([part[0] for part in shared]), output)
    assert_close(torch.cat([part[1] for part in shared]), gradient, atol=1e-12)
    for _, _, others in shared:
        for other, expected in zip(others, averages, strict=True):
            assert_close(other, expected)


def test_group(monkeypatch):
    layer = GroupBatchNorm2d(2, "C4", dtype=torch.float64)
    x = torch.randn(4, 8, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = results_of(layer, x)
    shared = share_between_two_threads(monkeypatch, lambda share: results_of(layer, share), x)
    assert_close(torch.cat([part[0] for part in shared]), expected[0])
    assert_close(torch.cat([part[1] for part in shared]), expected[1])


def test_evaluation_uses_the_running_averages(monkeypatch):
    layer = BatchNorm2d(3).eval()
    x = torch.ones(4, 3, 2, 2)
    shared = share_between_two_threads(monkeypatch, layer, x)
    assert_close(torch.cat([part.detach() for part in shared]), layer(x).detach())


def test_wrong_input(monkeypatch):
    with pytest.raises(ValueError, match="expected 4D input"):
        share_between_two_threads(monkeypatch, BatchNorm2d(3), torch.ones(4, 3))


def test_layers_inside_a_network_are_replaced():
    network = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3), nn.SyncBatchNorm(3)))
    names = list(network.state_dict())
    kinds = [type(layer).__module__.split(".")[0] for layer in normalize_by_whole_batch(network).modules()]
    assert kinds == ["torch", "torch", "torch", "sklinvariant", "torch"]
    assert list(network.state_dict()) == names
