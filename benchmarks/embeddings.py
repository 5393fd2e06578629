"""Clustering of embeddings: the estimators for embeddings compared with other clusterers.

    python benchmarks/embeddings.py DATA [--cache FOLDER] [--seeds 3] [--methods TEMI k-means] [--sets CIFAR]
    python benchmarks/embeddings.py --features FILE.npz [FILE.npz ...]
    python benchmarks/embeddings.py --large 1000000
    options: [--json FOLDER]

The score is the accuracy in %, with clusters matched one to one with classes: the mean and standard deviation over the
seeds. Labels are used for nothing else. Every method gets the number of classes, except HDBSCAN. A seed is the random
state of a method; the rows are the same.

DATA is the data folder of `league.py`. Images are means over the cells of SqueezeNet 1.1. "docstrings" are the first
2,000 letters of the docstrings of ten packages of SciPy, as TF-IDF reduced to 64 components by SVD, with the package as
label.

``--features`` compares the methods on embeddings of your own, with an array ``X`` (n, d) or several arrays ``X_1``,
``X_2`` of the spaces, and labels ``y``. Published for CIFAR-10: TEMI 96.9 with features of DINO and CLIP (Adaloglou et
al. 2023), TURTLE 99.5 with features of CLIP and DINOv2 (Gadetsky et al. 2024).

``--large`` measures the seconds of one fit on as many rows around 20 centres.
"""

import argparse
import importlib
import inspect
import time
import warnings
from pathlib import Path

import numpy as np
from league_clustering import clusterer, iic, kmeans, mixture, spectral
from league_sets import bundled, coil, eth, features, from_files
from measuring import add_json, report
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from sklinvariant import ConsensusClusterer, TEMIClusterer, TURTLEClusterer

SCIPY = ("fft", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial", "special", "stats")


def cifar_train(data):
    """Features of 10,000 training images, as in `cluster_quality.py`, which are stored as differences."""
    with np.load(data / "cifar10_residual.npz") as file:
        y = file["y_train"].ravel().astype(int)
        some = np.random.RandomState(0).permutation(len(y))[:10_000]
        planes = np.cumsum(np.cumsum(file["q_train"][:, some], axis=-2, dtype=np.uint8), axis=-1, dtype=np.uint8)
    images = np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], -1)
    return features(data, images, 96), y[some]


def docstrings(data, cache):
    """TF-IDF of docstrings, reduced by SVD, and the number of the package of each."""
    texts = {}
    for label, package in enumerate(SCIPY):
        module = importlib.import_module(f"scipy.{package}")
        for name in module.__all__:
            text = inspect.getdoc(getattr(module, name)) or ""
            if len(text) > 200:
                texts.setdefault(text[:2000], label)
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=3).fit_transform(list(texts))
    return TruncatedSVD(64, random_state=0).fit_transform(words).astype(np.float32), np.array([*texts.values()])


SETS = {
    "CIFAR-10, 10,000": from_files(cifar_train),
    "COIL-20": from_files(coil),
    "ETH-80, 50 objects": from_files(eth, dict.fromkeys([*range(1, 60, 2), *range(60, 80)], 41)),
    "digits 1 3 5 7 9": bundled(load_digits, dict.fromkeys((1, 3, 5, 7, 9), 200)),
    "docstrings": docstrings,
}


def ours(cls, **settings):
    return clusterer(lambda X, k, seed: cls(n_clusters=k, random_state=seed, **settings).fit(X).labels_)


def many_kmeans(X, k, seed):
    runs = KMeans(3 * k, n_init=1)
    return ConsensusClusterer(runs, k, n_runs=50, random_state=seed).fit(normalize(X)).labels_


def gemini(X, k, seed):
    """The clusterer of GemClus that needs neither a kernel nor a distance."""
    from gemclus.linear import LinearMMD

    return LinearMMD(k, random_state=seed).fit_predict(np.asarray(X, dtype=np.float64))


METHODS = {
    "TEMIClusterer": ours(TEMIClusterer),
    "TEMIClusterer, λ = 2": ours(TEMIClusterer, entropy_weight=2.0),
    "TURTLEClusterer": ours(TURTLEClusterer),
    "TURTLEClusterer, λ = 2": ours(TURTLEClusterer, entropy_weight=2.0),
    "ConsensusClusterer of 10 TEMI": ours(ConsensusClusterer, n_runs=10),
    "ConsensusClusterer of 50 k-means, 3 k": clusterer(many_kmeans),
    "IICClusterer": iic(),
    "IICClusterer, λ = 2, 30 neighbours": iic(entropy_weight=2.0, n_neighbors=30),
    "k-means": kmeans(lambda X: X),
    "k-means, unit length": kmeans(normalize),
    "spectral clustering": clusterer(spectral),
    "Gaussian mixture, full": mixture("full"),
    "HDBSCAN": clusterer(lambda X, k, seed: HDBSCAN(copy=True).fit_predict(X)),
    "GemClus, linear MMD": clusterer(gemini),
}
WITHOUT_SEED = {"HDBSCAN"}


def chosen(known, words):
    return {name: known[name] for name in known if not words or any(word in name for word in words)}


def own_set(path):
    """The rows and labels of a file of features; several spaces are concatenated."""
    with np.load(path) as file:
        names = sorted(name for name in file.files if name.startswith("X"))
        rows = np.hstack([np.asarray(file[name], dtype=np.float32) for name in names])
        return rows, file["y"].ravel().astype(int)


def measure(sets, args):
    """Accuracies (methods, sets, seeds) and seconds (methods, sets)."""
    methods = chosen(METHODS, args.methods)
    scores = np.full((len(methods), len(sets), args.seeds), np.nan)
    seconds = np.zeros(scores.shape[:2])
    for j, (set_name, load) in enumerate(sets.items()):
        data = load()[:2]
        for i, (name, method) in enumerate(methods.items()):
            started, n_seeds = time.perf_counter(), 1 if name in WITHOUT_SEED else args.seeds
            try:
                found = [method(data, seed)["accuracy"] for seed in range(n_seeds)]
            except ImportError as error:
                print(f"{name} is left out: {error}", flush=True)
                continue
            scores[i, j] = found if n_seeds == args.seeds else found[0]
            seconds[i, j] = (time.perf_counter() - started) / n_seeds
            print(f"{set_name}, {name}: {np.round(scores[i, j], 1)}, {seconds[i, j]:.1f} s", flush=True)
    return list(methods), scores, seconds


def compare(sets, name, args):
    methods, scores, seconds = measure(sets, args)
    kept = [i for i in range(len(methods)) if not np.isnan(scores[i]).any()]
    means = scores[kept].mean(2)
    ranks = (means[None] > means[:, None]).sum(1) + ((means[None] == means[:, None]).sum(1) + 1) / 2
    rows = []
    for row, i in enumerate(kept):
        cells = [f"{each.mean():.1f} ± {each.std():.1f}" for each in scores[i]]
        rows.append(
            [methods[i], *cells, f"{means[row].mean():.1f}", f"{ranks[row].mean():.1f}", f"{seconds[i].sum():.0f}"]
        )
    report(name, ["", *sets, "mean", "mean rank", "seconds"], rows, args)


def large(n, args):
    """Seconds of a fit on n rows of 64 features around 20 centres."""
    rng = np.random.default_rng(0)
    centres, y = rng.normal(size=(20, 64)).astype(np.float32), rng.integers(20, size=n)
    X = centres[y] + rng.normal(size=(n, 64), scale=0.8).astype(np.float32)
    rows = []
    for name, method in chosen(METHODS, args.methods or ["TEMIClusterer", "TURTLEClusterer"]).items():
        started = time.perf_counter()
        accuracy = method((X, y), 0)["accuracy"]
        rows.append([name, f"{n:,}", f"{accuracy:.1f}", f"{time.perf_counter() - started:.0f}"])
        print(rows[-1], flush=True)
    report("embeddings_large", ["", "rows", "accuracy, %", "seconds"], rows, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--features", nargs="+", type=Path)
    parser.add_argument("--large", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--sets", nargs="+")
    add_json(parser)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    if args.large:
        large(args.large, args)
    if args.features:
        compare({path.stem: lambda path=path: own_set(path) for path in args.features}, "embeddings_own", args)
    if args.data:
        sets = chosen(SETS, args.sets)
        compare(
            {name: lambda load=load: load(args.data, args.cache) for name, load in sets.items()}, "embeddings", args
        )


if __name__ == "__main__":
    main()
