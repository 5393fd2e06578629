"""Exact nearest neighbours of tensors on their device, in blocks of the table of distances."""

import torch

from sklinvariant.ops import chunk_share

_ROWS = 1 << 12  # that are compared at a time
_DISTANCES = 1 << 26  # that are held at a time, 256 MB in float32


@torch.no_grad()
def search_tensors(rows: torch.Tensor, k: int) -> torch.Tensor:
    """Indices (n, k) of the nearest other rows (n, d), nearest first; k is at most n - 1.

    Centre the rows first, because the distances are computed as |y|² - 2 x·y, in the dtype of the rows.
    """
    numbers = torch.arange(len(rows), device=rows.device)
    squares = rows.square().sum(1)
    size = chunk_share(_ROWS)
    parts = zip(rows.split(size), numbers.split(size), strict=True)
    return torch.cat([_search_part(part, own, rows, squares, k) for part, own in parts])


def _search_part(part, own, rows, squares, k):
    """The nearest other rows of some rows (m, d), whose own indices are ``own`` (m,)."""
    width = max(1, chunk_share(_DISTANCES) // len(part))
    nearest = part.new_empty(len(part), 0)
    found = own.new_empty(len(part), 0)
    for first in range(0, len(rows), width):
        others = rows[first : first + width]
        distances = torch.addmm(squares[first : first + width], part, others.T, alpha=-2)
        inside = (own >= first) & (own < first + len(others))
        distances[inside, own[inside] - first] = torch.inf
        near, index = distances.topk(min(k, len(others)), largest=False)
        nearest, found = torch.cat([nearest, near], 1), torch.cat([found, index + first], 1)
        if found.shape[1] > k:
            nearest, order = nearest.topk(k, largest=False)
            found = found.gather(1, order)
    return found
