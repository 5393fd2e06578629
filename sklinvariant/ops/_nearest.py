"""The nearest codeword of each descriptor, and sums of hard assignments over bags, computed in chunks."""

from typing import Literal, overload

import numpy as np
import torch
from torch.nn import functional as F

from sklinvariant._docstrings import documented_by
from sklinvariant._settings import in_own_precision
from sklinvariant.ops._chunks import chunk_rows, compute_dtype, device_chunks, gather_bags, load_rows, take_rows
from sklinvariant.ops._kernels import KERNEL_DTYPES, has_kernel
from sklinvariant.ops._soft_moments import Scores, soft_moments


@overload
def nearest_codewords(
    values: torch.Tensor, codebook: torch.Tensor, *, return_distance: Literal[False] = ..., chunk_size: int | None = ...
) -> torch.Tensor: ...


@overload
def nearest_codewords(
    values: torch.Tensor, codebook: torch.Tensor, *, return_distance: Literal[True], chunk_size: int | None = ...
) -> tuple[torch.Tensor, torch.Tensor]: ...


@documented_by(soft_moments)
@in_own_precision
def nearest_codewords(
    values: torch.Tensor, codebook: torch.Tensor, *, return_distance: bool = False, chunk_size: int | None = None
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The nearest codeword of each descriptor by Euclidean distance.

    Ties are resolved in favour of the lower index. Values and codebook are centred on the mean of the codebook and
    divided by its scale, so that a large common offset loses no precision and no square overflows. If neither can
    happen, only the codebook is transformed, which saves a pass over the values.

    Parameters
    ----------
    codebook : tensor of shape (k, d)
        Codewords, which have the dtype and the device of the computation.
    return_distance : bool, default=False
        Whether to return the squared distances too.

    Returns
    -------
    labels : int64 tensor of shape (N,)
        Index of the nearest codeword.
    distances : tensor of shape (N,)
        Squared distances, only if ``return_distance``.

    Examples
    --------
    >>> import torch
    >>> from sklinvariant.ops import nearest_codewords
    >>> codebook = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    >>> labels, distances = nearest_codewords(torch.tensor([[1.0, 0.0], [10.0, 2.0]]), codebook, return_distance=True)
    >>> labels.tolist(), distances.round().tolist()
    ([0, 1], [1.0, 4.0])
    """
    k = len(codebook)
    weight, bias, shift, scale = _scores(codebook)
    if has_kernel(codebook) and values.dtype in KERNEL_DTYPES:
        from sklinvariant.ops.gpu._nearest import nearest_labels

        labels, distances = nearest_labels(values, weight, bias[:, 0], shift, scale, return_distance)
        return (labels, distances) if return_distance else labels
    folded = not return_distance and _is_harmless(weight, shift, scale)
    if folded:
        weight, bias = weight / scale, bias - weight @ (shift / scale)[:, None]
    rows = chunk_rows(k, codebook.dtype, codebook.device, chunk_size)
    buffer = codebook.new_empty(min(rows, len(values)) * k)
    labels = torch.empty(len(values), dtype=torch.int64, device=codebook.device)
    distances = codebook.new_empty(len(values) if return_distance else 0)
    for start in range(0, len(values), rows):
        stop = min(start + rows, len(values))
        x = (
            take_rows(values, start, stop, codebook)
            if folded
            else load_rows(values, start, stop, codebook, shift, scale)
        )
        scores = torch.mm(weight, x.T, out=buffer[: k * len(x)].view(k, len(x))).add_(bias)
        best, labels[start:stop] = _largest(scores)
        if return_distance:
            distances[start:stop] = ((x * x).sum(1) - best).clamp_(min=0) * scale * scale
    return (labels, distances) if return_distance else labels


def _scores(codebook):
    """Weight (k, d), bias (k, 1), shift, scale: weight · z + bias = |z|² - |z - w|² for z = (x - shift) / scale."""
    shift = codebook.mean(dim=0)
    centred = codebook - shift
    largest = centred.abs().max()
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    centred /= scale
    return 2 * centred, -(centred * centred).sum(1, keepdim=True), shift, scale


def _is_harmless(weight, shift, scale):
    """Whether the raw values can be used: their offset is comparable to their spread and their scale is moderate."""
    info = torch.finfo(scale.dtype)
    near = torch.linalg.vector_norm(shift / scale) <= 2 * torch.linalg.vector_norm(weight, dim=1).max()
    return bool(near & (scale > info.tiny**0.5) & (scale < info.max**0.5))


def _largest(scores):
    """Largest score of each column of (k, rows) and the index of its first occurrence: (rows,) each."""
    if scores.device.type != "cpu":
        return scores.max(dim=0)
    # On a CPU torch's max over a dimension is not vectorised and takes longer than the matrix product. Max pooling is
    # vectorised over channels: the scores are passed as one image of k x 1 pixels with a channel for each column.
    k, rows = scores.shape
    best, index = F.max_pool2d(scores.view(1, k, 1, rows).permute(0, 3, 1, 2), (k, 1), return_indices=True)
    return best.view(rows), index.view(rows)


@in_own_precision
def sum_by_label(
    values: torch.Tensor, labels: torch.Tensor, k: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Sum of the rows with each label.

    On a GPU the order of the sums is fixed, unlike that of ``index_add_``.

    Parameters
    ----------
    values : tensor of shape (N, d) or (N,)
        Rows, or numbers.
    labels : int64 tensor of shape (N,)
        Labels from 0 to k - 1.
    k : int
        Number of labels, such as codewords.
    weights : tensor of shape (N,) or None, default=None
        Weights of rows (N, d). None weighs all rows equally.

    Returns
    -------
    float32 or float64 tensor of shape (k, d) or (k,)

    Raises
    ------
    IndexError
        If a label is not from 0 to k - 1.
    """
    if len(labels):
        smallest, largest = torch.stack(labels.aminmax()).tolist()
        if smallest < 0 or largest >= k:
            raise IndexError(f"labels must be from 0 to k - 1 = {k - 1}, but they are from {smallest} to {largest}")
    if len(values) and has_kernel(values, *([] if weights is None else [weights])):
        from sklinvariant.ops.gpu._nearest import sum_by_label as kernel

        weights = None if weights is None else weights.contiguous()
        sums = kernel(values.reshape(len(values), -1).contiguous(), labels, k, weights)
        return sums.view(k, *values.shape[1:])
    rows = values.to(compute_dtype(values.dtype))
    rows = rows if weights is None else rows * weights[:, None]
    return rows.new_zeros(k, *values.shape[1:]).index_add_(0, labels, rows)


@documented_by(sum_by_label, gather_bags)
def count_codewords(labels: torch.Tensor, offsets: np.ndarray, k: int, dtype: torch.dtype) -> torch.Tensor:
    """Histogram of the labels of each bag, as counts.

    Parameters
    ----------
    dtype : torch.dtype
        Type of the result.

    Returns
    -------
    tensor of shape (n, k)
    """
    n = len(offsets) - 1
    bag = torch.repeat_interleave(
        torch.arange(n, device=labels.device), torch.as_tensor(offsets, device=labels.device).diff()
    )
    return torch.bincount(bag * k + labels, minlength=n * k).view(n, k).to(dtype)


@documented_by(take_rows, nearest_codewords, count_codewords, Scores)
@in_own_precision
def sum_by_codeword(
    values: torch.Tensor,
    labels: torch.Tensor,
    offsets: np.ndarray,
    k: int,
    like: torch.Tensor,
    shift: torch.Tensor,
    scale: torch.Tensor,
    chunk_size: int | None = None,
) -> torch.Tensor:
    r"""Sum of the standardised descriptors of each bag that belong to each codeword.

    With labels l and :math:`z = (x - \mathrm{shift}) / \mathrm{scale}`, the sums over the descriptors n of a bag are

    .. math:: S_k = \sum_{n : l_n = k} z_n

    Returns
    -------
    tensor of shape (n, k, d)
    """
    n, d = len(offsets) - 1, values.shape[1]
    sizes = torch.as_tensor(offsets, device=labels.device).diff()
    bag = torch.repeat_interleave(torch.arange(n, device=labels.device), sizes)
    target = bag * k + labels
    if len(values) and has_kernel(like) and values.dtype in KERNEL_DTYPES:
        from sklinvariant.ops.gpu._nearest import sum_by_label as kernel

        total = like.new_zeros(n * k, d)
        for start, stop, x in device_chunks(values, like):
            total += kernel(x, target[start:stop], n * k, shift=shift, scale=scale)
        return total.view(n, k, d)
    sums = like.new_zeros(n * k, d)
    rows = chunk_rows(d, compute_dtype(like.dtype), like.device, chunk_size)
    for start in range(0, len(values), rows):
        stop = min(start + rows, len(values))
        sums.index_add_(0, target[start:stop], load_rows(values, start, stop, like, shift, scale))
    return sums.view(n, k, d)
