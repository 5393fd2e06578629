"""How close results must be that another machine, batch or number of threads may round otherwise.

Exact equality (``==``, ``assert_array_equal``) is for an object and its copy, and for integers.
"""

import numpy as np
import torch

# rounding errors of float32 and float64 that sums over some hundred numbers gather
_RTOL = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-9}


def assert_close(actual, expected, *, rtol=None, atol=None):
    """Two arrays or tensors of floats are equal but for rounding, relative to the largest value."""
    actual, expected = (_as_array(values) for values in (actual, expected))
    kind = min(actual.dtype, expected.dtype, key=lambda dtype: dtype.itemsize)
    rtol = _RTOL.get(kind, 1e-9) if rtol is None else rtol
    finite = np.abs(expected[np.isfinite(expected)])
    atol = rtol * finite.max(initial=0) if atol is None else atol
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def assert_same_labels(actual, expected, scores, *, margin=1e-3):
    """Two arrays of labels are equal wherever the two best ``scores`` (n, k) of a sample differ by the margin.

    The margin is relative to the largest score. At least half of the samples must be that clear.
    """
    scores = _as_array(scores)
    best = np.sort(scores, axis=-1)
    clear = best[..., -1] - best[..., -2] > margin * np.abs(scores).max()
    assert clear.mean() >= 0.5, "too few samples are clear of a tie for this comparison to mean anything"
    np.testing.assert_array_equal(_as_array(actual)[clear], _as_array(expected)[clear])


def _as_array(values):
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
