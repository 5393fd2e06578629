"""Moments of pairs of frames against loops over the pairs."""

import numpy as np
import pytest
import torch

from sklinvariant.pooling._pair_moments import pair_moments, pooling_errors, pooling_ray, standardized

FOLLOWS = torch.tensor([1, 1, 0, 0, 1, 1, 1, 0, 1, 0], dtype=torch.bool)  # clips of 3, 1, 4, 2 and 1 frames


def _frames(dtype=torch.float64, seed=0, d=5):
    return torch.rand(len(FOLLOWS) + 1, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _naive(rows, follows):
    rows = rows.double().numpy()
    total, change, first = np.zeros((3, rows.shape[1], rows.shape[1]))
    for i in np.flatnonzero(follows):
        y, y_next = rows[i], rows[i + 1]
        first += np.outer(y, y)
        total += np.outer(y, y) + np.outer(y_next, y_next)
        change += np.outer(y - y_next, y - y_next)
    return total, change, first


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 10, 11, 100, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_a_loop(chunk_size, dtype, device):
    rows = _frames(dtype)
    moments = pair_moments(rows, FOLLOWS, device=device, with_first=True, scale=2.0, chunk_size=chunk_size)
    assert moments.n_pairs == 6
    for got, expected in zip((moments.total, moments.change, moments.first), _naive(rows, FOLLOWS), strict=True):
        assert got.dtype == torch.float64
        np.testing.assert_allclose(got.cpu(), expected, rtol=3e-5 if dtype == torch.float32 else 1e-12)


def test_parts_add_up():
    rows = _frames()
    cut = 4  # between two clips
    parts = [pair_moments(rows[:cut], FOLLOWS[: cut - 1], with_first=True), pair_moments(rows[cut:], FOLLOWS[cut:])]
    whole = pair_moments(rows, FOLLOWS)
    added = parts[0] + parts[1]
    assert added.n_pairs == whole.n_pairs
    torch.testing.assert_close(added.total, whole.total)
    torch.testing.assert_close(added.change, whole.change)
    assert added.first is None  # one part does not know it


@pytest.mark.parametrize("with_first", [False, True])
def test_a_shift_is_undone(with_first):
    rows = _frames()
    plain = pair_moments(rows, FOLLOWS, with_first=with_first)
    shifted = pair_moments(rows, FOLLOWS, with_first=with_first, shift=rows[0], chunk_size=3)
    for moments in (shifted, shifted.around(rows[1])):
        torch.testing.assert_close(moments.without_shift().total, plain.total)
        torch.testing.assert_close(moments.without_shift().change, plain.change)
        assert not with_first or torch.allclose(moments.without_shift().first, plain.first)
    direct = pair_moments(rows, FOLLOWS, shift=rows[1])
    torch.testing.assert_close(shifted.around(rows[1]).total, direct.total)
    cut = 4  # between two clips
    parts = [pair_moments(x, f, shift=x[0]) for x, f in ((rows[:cut], FOLLOWS[: cut - 1]), (rows[cut:], FOLLOWS[cut:]))]
    torch.testing.assert_close((parts[0] + parts[1]).total, direct.around(direct.mean).total)


def test_standardised_moments():
    rows = _frames() + 1e6
    rows[:, -1] = 0.1
    mean, deviation, moments = standardized(pair_moments(rows, FOLLOWS, with_first=True, shift=rows[0]))
    index = FOLLOWS.nonzero()[:, 0]
    seen = torch.cat([rows[index], rows[index + 1]])
    torch.testing.assert_close(mean, seen.mean(0))
    torch.testing.assert_close(deviation[:-1], seen[:, :-1].std(0, unbiased=False))
    assert deviation[-1] == 0
    scaled = (rows - mean) / torch.where(deviation > 0, deviation, torch.inf)
    for got, expected in zip((moments.total, moments.change, moments.first), _naive(scaled, FOLLOWS), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_extreme_units(size):
    """Squares that overflow float32: rows are scaled before they are multiplied."""
    rows = _frames(torch.float32) * size
    moments = pair_moments(rows, FOLLOWS, scale=float(rows.max()))
    np.testing.assert_allclose(moments.total, _naive(rows, FOLLOWS)[0], rtol=1e-5)
    np.testing.assert_allclose(moments.change.diagonal(), _naive(rows, FOLLOWS)[1].diagonal(), rtol=1e-5)


def test_a_slow_video_in_float32():
    """Changes of 1e-5, for which the difference of the moments would lose all digits."""
    rows = 1 + 1e-5 * _frames(torch.float32)
    moments = pair_moments(rows, FOLLOWS)
    np.testing.assert_allclose(moments.change.diagonal(), _naive(rows, FOLLOWS)[1].diagonal(), rtol=1e-5)


@pytest.mark.parametrize("cross", [False, True])
def test_errors_are_those_of_the_paper(cross):
    y, y_next, components = _frames()[:4], _frames(seed=1)[:4], _frames(seed=2)[:3]
    invariance_error = reconstruction_error = 0
    for a, b in zip(y, y_next, strict=True):
        z, z_next = components @ a, components @ b
        invariance_error += ((z - z_next) ** 2).sum() / 2
        rebuilt = components.T @ z, components.T @ (z if cross else z_next)
        reconstruction_error += (((a - rebuilt[0]) ** 2).sum() + ((b - rebuilt[1]) ** 2).sum()) / 2
    got = pooling_errors(y, y_next, components, cross)
    torch.testing.assert_close(torch.stack(got), torch.stack([invariance_error, reconstruction_error]))
    gain, cost = pooling_ray(y, y_next, components, cross)
    for s in (0.5, 2.0):
        along = (y.square().sum() + y_next.square().sum() - s**2 * gain + s**4 * cost) / 2
        torch.testing.assert_close(pooling_errors(y, y_next, s * components, cross)[1], along)
