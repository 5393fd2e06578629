"""The nearest codeword of each descriptor, and sums over bags of hard assignments, in chunks."""

import torch

from sklinvariant.kernels._chunks import chunk_rows, compute_dtype, load_rows


def nearest_codewords(values, codebook, *, return_distance=False, chunk_size=None):
    """Index (N,) int64 of the nearest row of ``codebook`` (k, d); its squared distance (N,) when asked.

    Ties go to the lower index. Both sides are centred on the codebook's mean first, so that a large common
    offset costs no digits.
    """
    shift = codebook.mean(dim=0)
    scale = _unit(codebook - shift)
    centred = (codebook - shift) / scale
    weight = (2 * centred).T.contiguous()
    bias = -(centred * centred).sum(1)
    rows = chunk_rows(len(codebook), codebook.dtype, codebook.device, chunk_size)
    buffer = codebook.new_empty(min(rows, len(values)), len(codebook))
    labels = torch.empty(len(values), dtype=torch.int64, device=codebook.device)
    distances = codebook.new_empty(len(values)) if return_distance else None
    for start in range(0, len(values), rows):
        stop = min(start + rows, len(values))
        x = load_rows(values, start, stop, codebook, shift, scale)
        scores = torch.addmm(bias, x, weight, out=buffer[: len(x)])
        labels[start:stop] = _argmax(scores)
        if return_distance:
            best = scores.gather(1, labels[start:stop, None])[:, 0]
            distances[start:stop] = ((x * x).sum(1) - best).clamp_(min=0) * scale * scale
    return (labels, distances) if return_distance else labels


def _unit(x):
    """A scale that brings the entries near 1 (1 for all-zero x), so that squares neither over- nor underflow."""
    largest = x.abs().max() if x.numel() else x.new_tensor(0.0)
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def _argmax(scores):
    """Index of the largest score of each row, (rows,) int64; the first of equal ones."""
    if scores.device.type != "cpu":
        return scores.argmax(dim=1)
    # numpy's argmax along a row is vectorised, torch's on a CPU is not and takes longer than the scores' product
    return torch.from_numpy(scores.numpy().argmax(axis=1))


def count_codewords(labels, offsets, k, dtype):
    """Histogram (n, k) of the labels (N,) of each bag: counts, not frequencies."""
    n = len(offsets) - 1
    bag = torch.repeat_interleave(
        torch.arange(n, device=labels.device), torch.as_tensor(offsets, device=labels.device).diff()
    )
    return torch.bincount(bag * k + labels, minlength=n * k).view(n, k).to(dtype)


def sum_by_codeword(values, labels, offsets, k, like, shift, scale, chunk_size=None):
    """Σ (x - shift) / scale over each bag and codeword: (n, k, d)."""
    n, d = len(offsets) - 1, values.shape[1]
    offsets = torch.as_tensor(offsets, device=labels.device)
    bag = torch.repeat_interleave(torch.arange(n, device=labels.device), offsets.diff())
    target = bag * k + labels
    sums = like.new_zeros(n * k, d)
    rows = chunk_rows(d, compute_dtype(like.dtype), like.device, chunk_size)
    for start in range(0, len(values), rows):
        stop = min(start + rows, len(values))
        sums.index_add_(0, target[start:stop], load_rows(values, start, stop, like, shift, scale))
    return sums.view(n, k, d)
