"""How close results must be that another machine, batch or number of threads may round otherwise.

Exact equality (``==``, ``assert_array_equal``) is for an object and its copy, and for integers.
"""

import numpy as np
import torch

from sklinvariant import DescriptorSets

# rounding errors that sums over some hundred numbers gather, relative to the largest of the results
_RTOL = {np.dtype(np.float16): 1e-2, np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-9}


def assert_close(actual, expected, *, rtol=None, atol=None):
    """Assert that two arrays, tensors or `DescriptorSets` of floats are equal up to rounding.

    ``rtol`` is relative to the largest value of ``expected`` where ``atol`` is not given; by default it is that of the
    coarser of the two dtypes. Give a larger one for results of training, which enlarges rounding errors.
    """
    if isinstance(expected, DescriptorSets):
        np.testing.assert_array_equal(actual.sizes, expected.sizes)
        actual, expected = actual.values, expected.values
    actual, expected = _as_array(actual), _as_array(expected)
    assert actual.shape == expected.shape, f"shapes differ: {actual.shape} and {expected.shape}"
    if rtol is None:
        rtol = max(_RTOL.get(values.dtype, 1e-9) for values in (actual, expected))
    if atol is None:
        atol = rtol * np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def assert_same_labels(actual, expected, scores, *, margin=1e-3):
    """Two arrays of labels are equal for all samples that are clear of a tie. At least half of them must be.

    ``scores`` (n, k) hold a number for each label; clear is a sample whose two best differ by more than ``margin``,
    relative to the largest score of all. Scores of the shape of the labels are those of bits, with the tie at 0.
    """
    actual, expected, scores = _as_array(actual), _as_array(expected), np.asarray(_as_array(scores), dtype=np.float64)
    assert actual.shape == expected.shape, f"shapes differ: {actual.shape} and {expected.shape}"
    if scores.shape == expected.shape:
        gap = np.abs(scores)
    else:
        best = np.sort(scores, axis=-1)
        gap = best[..., -1] - best[..., -2]
    clear = gap > margin * np.abs(scores).max()
    assert clear.mean() >= 0.5, "too few samples are clear of a tie for this comparison to mean anything"
    np.testing.assert_array_equal(actual[clear], expected[clear])


def _as_array(values):
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)
