"""The nearest other samples of each sample: exactly, or on a CPU with inverted lists of faiss if there are many."""

import importlib.util
import math

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from sklinvariant.base import as_tensor, faiss_threads, import_faiss
from sklinvariant.ops import in_safe_unit
from sklinvariant.pairs._tensor_search import search_tensors

_MOST_EXACT = 50_000  # rows; the time of an exact search grows with their square
_COMPARED = 1 << 32  # values that one call compares in an exact search, which Ctrl-C cannot interrupt
_BLOCK = 256  # rows that scikit-learn compares at a time
_CODED_COLUMNS = 8  # columns that are compared first
_CODED = 1 << 22  # values whose codes are computed at a time
_CALL = 1 << 12  # rows that one call looks for in the lists
_LISTS = 2  # times the square root of the number of rows
_FROM_A_LIST = 40  # rows from which the centre of a list is learned
_ROUNDS = 5  # of k-means
_GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it are spread evenly between whole numbers
_LEAST_RECALL = 0.95
_MOST_EXCESS = 0.01  # of the distances over those of the nearest rows
_MEASURED = 1_000  # rows on which both are measured


def nearest_partners(
    samples: torch.Tensor, n_neighbors: int, auxiliary: torch.Tensor | None = None, *, n_clusters: int | None = None
) -> torch.Tensor:
    """Indices (n, k) of the nearest other samples of each sample (n, ...); k is at most n - 1.

    For ``n_clusters`` clusters, k is at most half of their mean size, but at least 2, because most neighbours of a
    sample would otherwise be in other clusters. Copies of a sample then count as one, as `_nearest_values` explains,
    unless there are fewer than four different samples for each cluster. Samples that are not ``auxiliary`` (n,) only
    have neighbours that are not auxiliary either, so that no walk reaches auxiliary samples.
    """
    inside = None if auxiliary is None else (~auxiliary).nonzero().squeeze(1)
    n = len(samples if inside is None else inside)
    if n < 2:
        raise ValueError(f'pairs="neighbors" needs at least 2 samples, got n_samples={n}')
    flat = in_safe_unit(samples.flatten(1))[0]
    rows = flat - flat.mean(0)  # centred, so that products of large numbers do not cancel
    search, k = _search, min(n_neighbors, n - 1)
    if n_clusters is not None:
        n_values = len(row_codes(rows if inside is None else rows[inside]).unique())
        half_a_cluster = n_values // (2 * n_clusters)
        if n_values < n and half_a_cluster >= 2:
            search, k = _nearest_values, min(k, half_a_cluster)
        else:
            k = min(k, max(2, n // (2 * n_clusters)))
    found = search(rows, k)
    if inside is not None and n < len(rows):
        found[inside] = inside[search(rows[inside], k)]
    return found


def _nearest_values(rows, k):
    """Indices (n, k) of other rows, evenly from the copies of each row and from the rows with the k nearest values.

    If they were the nearest rows, a value that many rows have would have only copies as neighbours, and look like a
    cluster of its own, such as the answers that most people give. But some values, such as blank images, are far from
    all others. So a near value of which this one is no neighbour is left out, the farthest first, for each copy.
    """
    _, values, counts = row_codes(rows).unique(return_inverse=True, return_counts=True)
    members = values.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    near = _search(rows[members[starts]], k)  # (u, k), numbers of values
    own = torch.arange(len(near), device=near.device)[:, None]
    one_way = ~torch.isin(near * len(near) + own, own * len(near) + near)
    farthest = one_way.flip(1).cumsum(1).flip(1)  # among these, 1 for the farthest
    left_out = one_way & (farthest < counts[:, None])
    near = torch.cat([own, near], 1)
    copies = counts[near[:, 1:]].masked_fill(left_out, 0)
    numbers = torch.cat([counts[:, None] - 1, copies], 1)  # of rows to choose from
    ends = numbers.cumsum(1)

    place = torch.empty_like(values)  # of a row among its copies
    place[members] = torch.arange(len(values), device=values.device) - starts[values[members]]
    shift = (place.double() * _GOLDEN % 1)[:, None]  # so that copies choose different rows
    steps = (torch.arange(k, device=near.device) + shift) / k * ends[values, -1:]
    chosen = steps.long().minimum(ends[values, -1:] - 1)  # (n, k), in the list of all rows to choose from
    column = torch.searchsorted(ends[values], chosen, right=True)
    chosen = chosen - (ends - numbers)[values].gather(1, column)
    value = near[values].gather(1, column)
    chosen = torch.where(column == 0, (place[:, None] + 1 + chosen) % counts[value], chosen)
    return members[starts[value] + chosen]


def row_codes(rows: torch.Tensor) -> torch.Tensor:
    """Numbers (n,) that are equal for equal rows (n, d) of floats; those of others differ, but for chance (2⁻⁶⁴)."""
    if rows.shape[1] > 2 * _CODED_COLUMNS:
        codes = row_codes(rows[:, :: rows.shape[1] // _CODED_COLUMNS])
        if len(codes.unique()) == len(rows):  # rows that differ in a few columns are no copies
            return codes
    factors = torch.randint(1 << 62, (2, rows.shape[1]), generator=torch.Generator().manual_seed(0)).to(rows.device)
    factors = 2 * factors + 1
    parts = []
    for part in rows.split(max(1, _CODED // max(1, rows.shape[1]))):
        bits = (part + 0).view(torch.int32 if part.element_size() == 4 else torch.int64)  # -0.0 becomes 0.0
        bits = bits.long()
        for factor in factors:
            bits = (bits ^ (bits >> 32)) * factor  # the upper bits change the lower ones, too
        parts.append(bits.sum(1))
    return torch.cat(parts)


def _search(rows, k):
    """Indices (n, k) of the nearest other rows: exact on a GPU, and by `nearest_others` otherwise."""
    if rows.is_cuda:
        return search_tensors(rows, k)
    return as_tensor(nearest_others(rows.cpu().numpy(), k)).to(rows.device)


def nearest_others(rows: np.ndarray, k: int) -> np.ndarray:
    """Indices (n, k) of the nearest other rows (n, d).

    They are exact for at most 50,000 rows, or without faiss. Of more rows, at least 95 % are among the nearest, or
    their distances are on average at most 1 % larger than those of the nearest, by distances in float32.
    """
    if len(rows) > _MOST_EXACT and importlib.util.find_spec("faiss") is not None:
        found = _list_search(rows, k + 1)
    else:
        found = _exact_search(rows, k + 1)
    own = found == np.arange(len(rows))[:, None]
    own[~own.any(1), -1] = True  # if more than k rows are equal, the row itself may be missing
    return found[~own].reshape(len(rows), -1)


def _exact_search(rows, k):
    """Indices (n, k) of the nearest rows, the row itself included, computed in blocks so that each call is short."""
    search = NearestNeighbors(n_neighbors=k).fit(rows)
    step = max(1, _COMPARED // rows.size // _BLOCK) * _BLOCK
    parts = [search.kneighbors(rows[i : i + step], return_distance=False) for i in range(0, len(rows), step)]
    return np.concatenate(parts)


def _list_search(rows, k):
    """The same with inverted lists (IVF): k-means divides the rows, and a search visits the lists of the nearest means.

    The number of visited lists is doubled until the rows found are near enough, at the latest when all lists are
    visited. A graph (HNSW) took three times as long for 100,000 rows.
    """
    faiss = import_faiss()
    if rows.dtype == np.float64:
        rows = rows / (np.abs(rows).max() or 1)  # so that squares do not overflow in float32
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    n_lists = int(_LISTS * math.sqrt(len(rows)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], n_lists)
    index.cp.niter, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = _ROUNDS, 1, _FROM_A_LIST
    with faiss_threads(1):  # the means do not depend on the number of threads
        index.train(rows)
    for start in range(0, len(rows), _CALL):
        index.add(rows[start : start + _CALL])
    _find_effort(index, rows, k)
    parts = [index.search(rows[start : start + _CALL], k)[1] for start in range(0, len(rows), _CALL)]
    found = np.concatenate(parts)
    incomplete = (found < 0).any(1)
    if incomplete.any():
        found[incomplete] = faiss.knn(rows[incomplete], rows, k)[1]
    return found


def _find_effort(index, rows, k):
    """Set the number of visited lists so that what some rows find, each itself included, is near enough.

    Where no direction is smaller than another, nearly all lists contain some of the nearest rows. Many others are
    then practically as near, and it would take several times as long to find the nearest.
    """
    measured = rows[np.linspace(0, len(rows) - 1, _MEASURED, dtype=int)]
    exact = import_faiss().knn(measured, rows, k)[0]
    while not _near_enough(exact, *index.search(measured, k)) and index.nprobe < index.nlist:
        index.nprobe = min(2 * index.nprobe, index.nlist)


def _near_enough(exact, distances, found):
    """Whether rows found at squared ``distances`` (n, k), all other than -1, have high recall or are nearly as near."""
    recall = (((distances <= exact[:, -1:] * (1 + 1e-3)) & (found >= 0)).sum(1) - 1).mean() / (exact.shape[1] - 1)
    lengths, shortest = (np.sqrt(np.maximum(squares, 0)).sum(1, dtype=np.float64) for squares in (distances, exact))
    excess = np.minimum((lengths - shortest) / np.maximum(shortest, np.finfo(float).tiny), 1)
    excess[(found < 0).any(1)] = 1
    return recall >= _LEAST_RECALL or excess.mean() <= _MOST_EXCESS
