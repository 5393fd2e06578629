"""Layers between group convolutions: batch normalisation, pooling, upsampling."""

import pytest
import torch

from sklinvariant.networks import GroupBatchNorm2d, GroupPool2d, GroupUpsample2d


def test_a_single_number_is_normalised_by_what_was_seen_before():
    norm = GroupBatchNorm2d(2, "C1")
    x = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(norm(x), x / (1 + 1e-5) ** 0.5)
    assert norm.training


def test_batch_normalisation_has_one_mean_and_variance_for_all_elements():
    x = torch.randn(5, 2 * 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = GroupBatchNorm2d(2, "C4", dtype=torch.float64)(x).detach()
    for channel, normalised in zip(x.unflatten(1, (2, 4)).unbind(1), out.unflatten(1, (2, 4)).unbind(1), strict=True):
        expected = (channel - channel.mean()) / (channel.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(normalised, expected)


@pytest.mark.parametrize("mode", ["mean", "max"])
@pytest.mark.parametrize("sizes", [(6, 4), (5, 4), (5, 3)])
def test_pooling_is_a_loop_over_windows(sizes, mode):
    x = torch.randn(1, 2, *sizes, generator=torch.Generator().manual_seed(0))
    out = GroupPool2d.halving(sizes, mode)(x)
    assert out.shape[2:] == tuple(-(-size // 2) for size in sizes)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            # windows of 2 pixels for even sides; of 3 around every second pixel for odd sides
            rows, columns = (slice(max(2 * k - size % 2, 0), 2 * k + 2) for k, size in zip((i, j), sizes, strict=True))
            window = x[..., rows, columns].flatten(2)
            torch.testing.assert_close(out[..., i, j], window.mean(2) if mode == "mean" else window.amax(2))


def test_pooling_of_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="GroupPool2d"):
        GroupPool2d(2)(torch.zeros(1, 4, 5, 5))
    with pytest.raises(ValueError, match="mode must be"):
        GroupPool2d(2, mode="sum")


@pytest.mark.parametrize("size", [(6, 6), (5, 5), (5, 6)])
def test_upsampling_commutes_with_flips_and_keeps_ramps(size):
    ramp = torch.arange(3.0)[:, None] + 10 * torch.arange(3.0)
    x, layer = ramp[None, None], GroupUpsample2d(size)
    out = layer(x)
    assert out.shape == (1, 1, *size)
    torch.testing.assert_close(layer(x.flip(-1)), out.flip(-1))
    torch.testing.assert_close(layer(x.flip(-2)), out.flip(-2))
    inside = out[0, 0, 1:-1, 1:-1]
    for axis in (0, 1):
        steps = inside.diff(dim=axis)
        torch.testing.assert_close(steps, steps.flatten()[0].expand_as(steps))
    with pytest.raises(ValueError, match="doubles 3 pixels to 6 or 5, not 7"):
        GroupUpsample2d(7)(x)
