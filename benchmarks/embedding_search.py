"""EmbeddingNeighbors: recall and time of a search among a million embeddings, compared with faiss at equal bytes.

    python benchmarks/embedding_search.py [--data FOLDER] [--images 40000] [--whiten 256] [--json FOLDER]

The embeddings are the 5 x 5 cells of SqueezeNet 1.1 (fire9, 512 features, length 1) of CIFAR-10 training images
enlarged to 96 pixels. A query is a random cell of a test image. With ``--whiten``, cells are whitened principal
components of length 1. FOLDER contains
``cifar10_residual.npz`` and ``weights/squeezenet_v1.1_imagenet_notop.npz``. Without it, embeddings are drawn from a
mixture of Gaussians.

Recall is the share of the 10 nearest of all float32 vectors that are found. The memory is that of the codes, with
ids of 8 bytes in inverted lists; our lists hold a second copy of the codes. Vectors for rescoring are in a file or, for
faiss, in a second index. Milliseconds of a query are processor time of one thread,
for queries in one batch, the smallest of 2 repetitions.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measuring import add_json, report
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import normalize

from sklinvariant import EmbeddingNeighbors, HammingNeighbors, QuantizedNeighbors

K, N_BITS, N_CELLS = 10, 256, 25
CANDIDATES = (100, 300, 1000, 3000)
# names of faiss.index_factory with codes of 32 bytes; RaBitQ adds 8 bytes for each vector, inverted lists an id of 8
FAISS = {
    "PQ, fast scan": "PQ64x4fs",
    "IVF, PQ, fast scan": "IVF1024,PQ64x4fs",
    "RaBitQ": "PCAR256,RaBitQ",
}
# codes of about as many bytes as QuantizedNeighbors has with 1, 2 and 4 bits for each of 512 features
EQUAL_BYTES = ("PQ{d4}x4fs", "PQ{d2}x4fs", "PQ{d}x4fs")
N_PROBES = 32


def cells(images, weights, path):
    """Cells (n, 25, 512), float16, memory-mapped from a file."""
    from retrieval_quality import backbone

    see = backbone(weights).fit(np.zeros((1, 96, 96, 3), np.float32)).feature_maps("cpu")
    if not path.exists():
        found = np.lib.format.open_memmap(path, "w+", np.float16, (len(images), N_CELLS, 512))
        for start in range(0, len(images), 100):
            pixels = torch.tensor(images[start : start + 100]).permute(0, 3, 1, 2) / 255
            large = torch.nn.functional.interpolate(pixels, size=(96, 96), mode="bicubic").clamp(0, 1)
            with torch.inference_mode():
                found[start : start + 100] = see(large.permute(0, 2, 3, 1)).flatten(1, 2).half().numpy()
    return np.load(path, mmap_mode="r")


def cifar_pixels(data, part, n):
    """The first n images (n, 32, 32, 3) of CIFAR-10's "train" or "test" part."""
    with np.load(data / "cifar10_residual.npz") as file:
        planes = np.cumsum(np.cumsum(file[f"q_{part}"][:, :n], axis=-2, dtype=np.uint8), axis=-1, dtype=np.uint8)
    return np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], -1)


def embeddings(data, n_images, cache):
    """Vectors of the database (n, 512) and queries of other images (2000, 512), of length 1."""
    images = {part: cifar_pixels(data, part, n) for part, n in (("train", n_images), ("test", 2000))}
    weights = data / "weights" / "squeezenet_v1.1_imagenet_notop.npz"
    train, test = (cells(images[part], weights, cache / f"cells-{part}-{len(images[part])}.npy") for part in images)
    one_of_each = np.arange(len(test)), np.random.RandomState(0).randint(N_CELLS, size=len(test))
    return _unit(train.reshape(-1, 512)), _unit(test[one_of_each])


def _unit(rows):
    return normalize(np.asarray(rows, dtype=np.float32), copy=False)


def mixture(n, n_queries):
    """Rows of length 1 around 100 centres."""
    rng = np.random.RandomState(0)
    centres = rng.normal(size=(100, 512)).astype(np.float32)
    rows = centres[rng.randint(100, size=n + n_queries)] + rng.normal(size=(n + n_queries, 512)).astype(np.float32)
    return _unit(rows[:n]), _unit(rows[n:])


def whitened(X, queries, n_components):
    pca = PCA(n_components, whiten=True, svd_solver="covariance_eigh").fit(X[:: max(1, len(X) // 100_000)])
    return _unit(pca.transform(X)), _unit(pca.transform(queries))


def measured(search, queries, true):
    """Recall@10 and milliseconds of a query."""
    taken = []
    for _ in range(2):
        started = time.process_time()
        found = search(queries)
        taken.append(time.process_time() - started)
    recall = np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)])
    return f"{100 * recall:.1f}", f"{1000 * min(taken) / len(queries):.2f}"


def ours(X, queries, true, folder):
    """Rows of EmbeddingNeighbors: steps of the search, precisions and numbers of candidates."""
    n_bytes = N_BITS // 8

    def rows(name, model, settings, memory=n_bytes):
        for n_candidates, n_rescored in settings:
            model.set_params(n_candidates=n_candidates, n_rescored=n_rescored)
            steps = n_candidates if n_rescored is None else f"{n_candidates}, {n_rescored}"
            disk = 0 if model.rescore is None else np.dtype(model.rescore).itemsize * X.shape[1]
            search = lambda q: model.kneighbors(q, K, return_distance=False)  # noqa: E731
            yield name, steps, memory, disk, *measured(search, queries, true), f"{seconds:.0f}"

    started = time.process_time()
    model = EmbeddingNeighbors(vectors=Path(folder, "float16"), random_state=0).fit(X)
    seconds = time.process_time() - started
    yield from rows("ours, float16", model, [(n, None) for n in CANDIDATES])
    hasher = FrozenEstimator(model.hasher_)
    for precision in ("float32", "int8"):
        other = EmbeddingNeighbors(hasher=hasher, rescore=precision, vectors=Path(folder, precision)).fit(X)
        yield from rows(f"ours, {precision}", other, [(1000, None)])
    yield from rows("ours, asymmetric, float16", model.set_params(asymmetric=True), [(1000, 100), (1000, 300)])
    yield from rows("ours, asymmetric", model.set_params(rescore=None), [(1000, None)])
    yield from rows("ours, Hamming alone", model.set_params(asymmetric=False), [(K, None)])
    started = time.process_time()
    index = HammingNeighbors(index="ivf", random_state=0)
    model = EmbeddingNeighbors(hasher=hasher, index=index, vectors=Path(folder, "float16")).fit(X)
    seconds += time.process_time() - started
    yield from rows("ours, ivf, float16", model, [(300, None), (1000, None)], 2 * n_bytes + 8)


def quantized_rows(X, queries, true):
    """Rows of QuantizedNeighbors, and of codes of about as many bytes from faiss. Ids are not counted."""
    import faiss

    for n_bits in (1, 2, 4):
        started = time.process_time()
        model = QuantizedNeighbors(K, n_bits=n_bits, n_jobs=1, random_state=0).fit(X)
        seconds = time.process_time() - started
        search = lambda q, model=model: model.kneighbors(q, return_distance=False)  # noqa: E731
        result = measured(search, queries, true)
        yield f"ours, {n_bits} bits per feature", "", model.codes_.shape[1], 0, *result, f"{seconds:.0f}"
    d = X.shape[1]
    for factory in EQUAL_BYTES:
        index = faiss.index_factory(d, factory.format(d=d, d2=d // 2, d4=d // 4))
        started = time.process_time()
        index.train(X[:: max(1, len(X) // 100_000)])
        index.add(X)
        seconds = time.process_time() - started
        result = measured(lambda q, index=index: index.search(q, K)[1], queries, true)
        yield "faiss, PQ, fast scan", "", index.sa_code_size(), 0, *result, f"{seconds:.0f}"


def faiss_rows(X, queries, true):
    """Rows of faiss: codes alone, and rescored with float32 vectors (IndexRefineFlat)."""
    import faiss

    flat = faiss.IndexFlatL2(X.shape[1])
    flat.add(X)
    yield "faiss, all vectors", "", 4 * X.shape[1], 0, *measured(lambda q: flat.search(q, K)[1], queries, true), "0"
    for name, factory in FAISS.items():
        if name == "RaBitQ" and not hasattr(faiss, "IndexRaBitQ"):  # faiss < 1.11
            continue
        codes = faiss.index_factory(X.shape[1], factory)
        started = time.process_time()
        codes.train(X[:: max(1, len(X) // 100_000)])
        codes.add(X)
        seconds = time.process_time() - started
        if name.startswith("IVF"):
            codes.nprobe = N_PROBES
        refined = faiss.IndexRefineFlat(codes, faiss.swig_ptr(X))
        memory = 32 + 8 * name.startswith(("RaBitQ", "IVF"))
        for n in (None, *CANDIDATES):
            refined.k_factor = (n or K) / K
            searched = codes if n is None else refined
            result = measured(lambda q, searched=searched: searched.search(q, K)[1], queries, true)
            disk = 0 if n is None else 4 * X.shape[1]
            yield f"faiss, {name}" + (", rescored" if n else ""), n or "", memory, disk, *result, f"{seconds:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10 and the weights of the network")
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--whiten", type=int, default=0, help="number of whitened components; 0 takes the 512 features")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()), help="folder for the cells")
    add_json(parser)
    args = parser.parse_args()
    import faiss

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    n = args.images * N_CELLS
    X, queries = mixture(n, 2000) if args.data is None else embeddings(args.data, args.images, args.cache)
    if args.whiten:
        X, queries = whitened(X, queries, args.whiten)
    queries = queries[-1000:][: args.queries]
    exact = faiss.IndexFlatL2(X.shape[1])
    exact.add(X)
    true = exact.search(queries, K)[1]
    del exact
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        parts = ours(X, queries, true, folder), quantized_rows(X, queries, true), faiss_rows(X, queries, true)
        for row in itertools.chain(*parts):
            rows.append(row)
            print(row, flush=True)
    columns = ("search", "candidates", "memory", "file", "recall@10, %", "ms", "fit s")
    report(f"embedding_search{'_whitened' * bool(args.whiten)}", columns, rows, args)


if __name__ == "__main__":
    main()
