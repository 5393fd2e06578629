"""Search among packed codes on a GPU, compared with torch, and with faiss on the CPU and the GPU, for `gpu.py`."""

import functools
import importlib.util

import numpy as np
import torch

from sklinvariant import HammingNeighbors
from sklinvariant.ops import BitPlanes, bit_planes, nearest_codes

COLUMNS = ["search", "codes", "queries", "neighbours", "ms", "share of the copy rate", "peak MB"]
TILE = 8  # queries that read the codes together


def cases(gpu, args):
    """The measurements of this part by name; each yields rows of the table."""
    return {
        "kernel": functools.partial(kernel, gpu),
        "eager": functools.partial(eager, gpu),
        "HammingNeighbors": functools.partial(estimator, gpu),
        "faiss": functools.partial(faiss_search, gpu),
    }


def random_planes(gpu, n, n_words, seed=0):
    generator = torch.Generator(gpu.device).manual_seed(seed)
    n_columns = bit_planes(np.zeros((n % 1000, 4 * n_words), np.uint8), "cpu").words.shape[1] - n % 1000 + n
    words = torch.empty(n_words, n_columns, dtype=torch.int32, device=gpu.device)
    for plane in words:  # in parts, because torch draws int64 numbers first
        for part in plane.split(1 << 26):
            part.random_(-(2**31), 2**31 - 1, generator=generator)
    return BitPlanes(words, n)


def kernel(gpu):
    for n in gpu.size((1_000_000_000, 100_000_000), (3000,)):
        codes = random_planes(gpu, n, 2)
        for n_queries, k in gpu.size(((1, 10), (8, 10), (8, 1024), (64, 10), (1000, 10)), ((8, 10),)):
            queries = random_planes(gpu, n_queries, 2, seed=1)
            yield measured(gpu, "kernel", n, 64, n_queries, k, lambda q=queries, k=k: nearest_codes([codes], q, k))  # noqa: B023


def eager(gpu):
    """Exclusive or, bits counted in parallel, and top-k, as a user would write them; in parts of 100 million."""
    n = gpu.size(100_000_000, 3000)
    codes, queries = random_planes(gpu, n, 2), random_planes(gpu, 8, 2, seed=1)

    def search():
        distances = torch.zeros(8, n, dtype=torch.int32, device=gpu.device)
        for word, asked in zip(codes.words[:, :n], queries.words[:, :8], strict=True):
            different = word ^ asked[:, None]
            different = different - ((different >> 1) & 0x55555555)
            different = (different & 0x33333333) + ((different >> 2) & 0x33333333)
            different = (different + (different >> 4)) & 0x0F0F0F0F
            distances += (different * 0x01010101) >> 24 & 0xFF
        return distances.topk(10, largest=False)

    yield measured(gpu, "torch, eager", n, 64, 8, 10, search)


def estimator(gpu):
    rng = np.random.default_rng(0)
    n = gpu.size(10_000_000, 3000)
    for n_bits in (64, 256):
        codes = rng.integers(256, size=(n, n_bits // 8), dtype=np.uint8)
        for device in dict.fromkeys([gpu.device.type, "cpu"]):
            index = HammingNeighbors(10, packed=True, device=device).fit(codes)
            queries = rng.integers(256, size=(1000, n_bits // 8), dtype=np.uint8)
            name = f"HammingNeighbors, {device}"
            yield measured(gpu, name, n, n_bits, 1000, 10, lambda i=index, q=queries: i.kneighbors(q))


def faiss_search(gpu):
    if importlib.util.find_spec("faiss") is None:
        yield "faiss is not installed", "", "", "", "", "", ""
        return
    import faiss

    rng = np.random.default_rng(0)
    n = gpu.size(10_000_000, 3000)
    codes, queries = (rng.integers(256, size=(rows, 8), dtype=np.uint8) for rows in (n, 1000))
    yield measured(gpu, "faiss, CPU", n, 64, 1000, 10, lambda: faiss.knn_hamming(queries, codes, 10))
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        index = faiss.GpuIndexBinaryFlat(faiss.StandardGpuResources(), 64)
        index.add(codes)
        yield measured(gpu, "faiss, GPU", n, 64, 1000, 10, lambda: index.search(queries, 10))


def measured(gpu, name, n, n_bits, n_queries, k, search):
    seconds, peak = gpu.seconds(search), gpu.peak(search)
    # the codes are read once for a tile of queries; more queries are limited by the counting of bits
    share = f"{n * n_bits / 8 / seconds / gpu.bandwidth():.0%}" if n_queries <= TILE else ""
    return name, f"{n:,} × {n_bits} bits", n_queries, k, f"{seconds * 1e3:.3g}", share, f"{peak:.0f}"
