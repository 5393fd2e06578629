"""Growth of the time and memory of estimators with the number of samples, features, and codewords, bits or clusters.

    python benchmarks/scaling.py [--cases NAME ...] [--shrink 1] [--figure scaling.png] [--json FOLDER]
    python benchmarks/scaling.py --results benchmarks/results/scaling.json --figure docs/images/scaling.png

Each point is measured in a new process, after a fit to a few samples that loads libraries. Time is the CPU time of the
process, which other processes on the machine do not change; with one thread it is also the wall time of an idle
machine. Memory is the largest memory of the process less that before the fit, when the data is already there. The
method is called three times, of which the fastest counts: the first call also waits for memory from the system.

The size is the number of samples n, or for some cases the number d of features or k of what is learned, at a fixed n.
There are four sizes, 1.5 decades from the first to the last. A fifth size, a tenth of the first, gives the constant
part, such as the training steps that do not depend on the size: its time and memory are subtracted. The exponent p of
size^p is the slope of a line through the logarithms of the rest, by least squares. Points at which less than 5 ms or
1 MB remain are left out, and with fewer than three points there is no exponent: "-" is a constant.

The random data only has the shape that an estimator expects, and few epochs suffice: what is measured is the cost.
"""

import argparse
import json
import math
import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import add_json, report
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

import sklinvariant as sk
from sklinvariant.inspection import palette, style
from sklinvariant.metrics import clustering_accuracy, exact_ranking
from sklinvariant.pairs import _nearest_partners

SIZES = 10 ** np.linspace(-1.5, 0, 4)  # shares of the largest size
CONSTANT = SIZES[0] / 10
FEWEST = {"n": 64, "d": 2, "k": 2}
LEAST = {"seconds": 0.005, "MB": 1.0}
STEEP = 1.1
EPOCH = {"max_epochs": 1, "random_state": 0}
MB = 1024 if sys.platform.startswith("linux") else 1024**2  # units of ru_maxrss


def rows(d, classes=10):
    """``data(n)``: float32 rows around the centres of classes."""

    def data(n):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n, d), dtype=np.float32)
        for i, centre in enumerate(3 * rng.standard_normal((classes, d), dtype=np.float32)):
            X[i::classes] += centre  # without an array of the size of X, which would hide the memory of the fit
        return X

    return data


def bags(n):
    return rows(16)(20 * n).reshape(n, 20, 16)


def images(size):
    def data(n):
        return np.random.default_rng(0).random((n, size, size), dtype=np.float32)

    return data


def frames(n):
    """Clips of 50 frames in which values drift, and are not negative."""
    X = np.random.default_rng(0).standard_normal((n // 50 + 1, 50, 32), dtype=np.float32)
    np.cumsum(X, axis=1, out=X)
    return np.abs(X, out=X).reshape(-1, 32)[:n]


def ten_classes(n):
    return np.arange(n) % 10


def few_labels(n):
    """Ten labels of each of ten classes; the others are unknown."""
    return np.where(np.arange(n) < 100, ten_classes(n), -1)


def orbits(n):
    return rows(32)(16 * n).reshape(n, 4, 2, 2, 32)


def maps(n):
    return rows(16)(64 * n).reshape(n, 8, 8, 16)


def labels(n, k=50):
    return np.random.default_rng(0).integers(k, size=(n, 2))


def codes(n):
    return np.random.default_rng(0).integers(256, size=(n, 8), dtype=np.uint8)


class Neighbours:
    """The search of `IICClusterer` for neighbours, as an estimator: exact, or in inverted lists of faiss."""

    def __init__(self, search):
        self.search = search

    def fit(self, X):
        self.search(X, 11)


class Accuracy:
    """`clustering_accuracy` of two columns of labels."""

    def fit(self, X):
        clustering_accuracy(X[:, 0], X[:, 1])


class Ranking:
    """`exact_ranking` of rows, each of which is a query."""

    def fit(self, X):
        exact_ranking(X)


@dataclass(frozen=True)
class Case:
    """An estimator, its largest size, and what is measured after `fit`: a method, or nothing.

    ``data(size)`` returns X, and ``make(size)`` the estimator.
    """

    samples: str
    data: Callable
    largest: int
    make: Callable
    method: str = "transform"
    reason: str = ""
    axis: str = "n"
    targets: Callable | None = None


def fixed(n, data):
    """``data(size)`` that always returns n samples."""
    return lambda size: data(n)


def wide(n):
    """``data(d)``: n rows of d features."""
    return lambda d: rows(d)(n)


QUADRATIC = "every row is compared with every other row"
CACHED, MOST_CACHED = "probably because small arrays stay in the cache", 1.25  # the steepest that this can explain
GROWING = "memory: probably blocks that are not yet full at the smallest sizes"
LISTS = "more and longer lists, and in rows without structure, as here, a growing share of them is visited"
KMEANS = "k-means at the start takes more iterations for more descriptors: up to 100, for up to 200,000"
COVARIANCE = "the covariance has d² entries, and its eigenvectors take d³"
PAIRS_OF_FEATURES = "the answer has d (d + 1) / 2 values, and its matrix root takes d³"
PARTS = "2 k small clusters are compared with k clusters, in several sweeps"
EM = "EM takes more iterations: 5 for 16 components, 43 for 500"
TABLE = "the table of both labels has k² entries, and assigning its clusters takes k³"
CASES = {
    "BagOfWords": Case("bags 20 × 16", bags, 40_000, lambda _: sk.BagOfWords(64, random_state=0)),
    "VLAD": Case("bags 20 × 16", bags, 40_000, lambda _: sk.VLAD(16, random_state=0)),
    "FisherVector": Case("bags 20 × 16", bags, 40_000, lambda _: sk.FisherVector(16, random_state=0)),
    "GeMPooling": Case("bags 20 × 16", bags, 100_000, lambda _: sk.GeMPooling()),
    "SecondOrderPooling": Case("bags 20 × 16", bags, 40_000, lambda _: sk.SecondOrderPooling()),
    "LearnedBoW": Case(
        "bags 20 × 16", bags, 10_000, lambda _: sk.LearnedBoW(64, **EPOCH), "transform", KMEANS, targets=ten_classes
    ),
    "LearnedVLAD": Case(
        "bags 20 × 16", bags, 10_000, lambda _: sk.LearnedVLAD(8, **EPOCH), "transform", KMEANS, targets=ten_classes
    ),
    "AutoPooling": Case("frames of 32", frames, 1_000_000, lambda _: sk.AutoPooling(8, random_state=0)),
    "SlowFeatures": Case("frames of 32", frames, 1_000_000, lambda _: sk.SlowFeatures(8)),
    "ConvolutionalFeatures": Case(
        "images 16 × 16",
        images(16),
        10_000,
        lambda _: sk.ConvolutionalFeatures(MiniBatchKMeans(16, n_init=1, random_state=0), patch_size=5, random_state=0),
    ),
    "DensePatches": Case("images 16 × 16", images(16), 20_000, lambda _: sk.DensePatches(6)),
    "LocalDescriptors": Case("images 32 × 32", images(32), 2_000, lambda _: sk.LocalDescriptors()),
    "CanonicalRotation": Case("images 16 × 16", images(16), 3_000, lambda _: sk.CanonicalRotation()),
    "SpatialPooling": Case("maps 8 × 8 × 16", maps, 40_000, lambda _: sk.SpatialPooling()),
    "NestedInvariancePooler": Case("orbits 4 × 2 × 2 × 32", orbits, 100_000, lambda _: sk.NestedInvariancePooler()),
    "PCAHasher": Case("rows of 64", rows(64), 1_000_000, lambda _: sk.PCAHasher(32)),
    "ITQHasher": Case("rows of 64", rows(64), 1_000_000, lambda _: sk.ITQHasher(32, random_state=0)),
    "BilinearHasher": Case("rows of 64", rows(64), 1_000_000, lambda _: sk.BilinearHasher(32, random_state=0)),
    "SpectralHasher": Case("rows of 64", rows(64), 1_000_000, lambda _: sk.SpectralHasher(32)),
    "SKLSHHasher": Case("rows of 64", rows(64), 1_000_000, lambda _: sk.SKLSHHasher(32, random_state=0)),
    "RBMHasher": Case("rows of 64", rows(64), 100_000, lambda _: sk.RBMHasher(32, **EPOCH)),
    "NeighborHasher": Case("rows of 64", rows(64), 500_000, lambda _: sk.NeighborHasher(32, random_state=0)),
    "HammingNeighbors": Case(
        "codes of 64 bits", codes, 1_000_000, lambda _: sk.HammingNeighbors(10, packed=True), "kneighbors"
    ),
    "IICClusterer": Case(
        "rows of 32", rows(32), 160_000, lambda _: sk.IICClusterer(10, n_heads=2, random_state=0), "predict"
    ),
    "IICClusterer, exact": Case(
        "rows of 32",
        rows(32),
        32_000,
        lambda _: sk.IICClusterer(10, n_heads=2, neighbors=NearestNeighbors(algorithm="brute"), random_state=0),
        "predict",
        QUADRATIC,
    ),
    "neighbours, exact": Case(
        "rows of 32", rows(32), 32_000, lambda _: Neighbours(_nearest_partners._exact_search), "", QUADRATIC
    ),
    "neighbours, lists": Case(
        "rows of 32", rows(32), 320_000, lambda _: Neighbours(_nearest_partners._list_search), "", LISTS
    ),
    "IICClassifier": Case(
        "rows of 32",
        rows(32),
        20_000,
        lambda _: sk.IICClassifier(sk.IICClusterer(10, n_heads=1, random_state=0), **EPOCH),
        "predict",
        QUADRATIC,
        targets=few_labels,
    ),
    "IICSegmenter": Case(
        "images 24 × 24",
        images(24),
        4_100,
        lambda _: sk.IICSegmenter(3, half_window=1, width=8, **EPOCH),
        "predict",
    ),
    "EquivariantAutoencoder": Case(
        "images 12 × 12",
        images(12),
        6_000,
        lambda _: sk.EquivariantAutoencoder(4, width=4, **EPOCH),
    ),
    "SparseAutoencoder": Case("rows of 64", rows(64), 100_000, lambda _: sk.SparseAutoencoder(32, **EPOCH)),
    "clustering_accuracy": Case("labels of 50 clusters", labels, 3_000_000, lambda _: Accuracy(), ""),
    "exact_ranking": Case("rows of 16", rows(16), 8_000, lambda _: Ranking(), "", QUADRATIC),
    # number of features
    "PCAHasher, d": Case("20,000 rows", wide(20_000), 1_000, lambda _: sk.PCAHasher(1), "transform", COVARIANCE, "d"),
    "SlowFeatures, d": Case(
        "20,000 frames", wide(20_000), 600, lambda _: sk.SlowFeatures(1), "transform", COVARIANCE, "d"
    ),
    "SecondOrderPooling, d": Case(
        "500 bags of 20",
        lambda d: rows(d)(10_000).reshape(500, 20, d),
        320,
        lambda _: sk.SecondOrderPooling(),
        "transform",
        PAIRS_OF_FEATURES,
        "d",
    ),
    "FisherVector, d": Case(
        "1,000 bags of 20",
        lambda d: rows(d)(20_000).reshape(1000, 20, d),
        512,
        lambda _: sk.FisherVector(8, random_state=0),
        axis="d",
    ),
    "IICClusterer, d": Case(
        "3,000 rows", wide(3_000), 1_000, lambda _: sk.IICClusterer(10, n_heads=1, random_state=0), "predict", axis="d"
    ),
    # number of codewords, components, bits or clusters
    "BagOfWords, k": Case(
        "2,000 bags 20 × 16", fixed(2_000, bags), 1_000, lambda k: sk.BagOfWords(k, random_state=0), axis="k"
    ),
    "VLAD, k": Case("2,000 bags 20 × 16", fixed(2_000, bags), 500, lambda k: sk.VLAD(k, random_state=0), axis="k"),
    "FisherVector, k": Case(
        "2,000 bags 20 × 16",
        fixed(2_000, bags),
        500,
        lambda k: sk.FisherVector(k, random_state=0),
        reason=EM,
        axis="k",
    ),
    "IICClusterer, k": Case(
        "5,000 rows of 32",
        fixed(5_000, rows(32, 200)),
        200,
        lambda k: sk.IICClusterer(k, n_heads=1, random_state=0),
        "predict",
        PARTS,
        "k",
    ),
    "clustering_accuracy, k": Case(
        "100,000 labels", lambda k: labels(100_000, k), 3_000, lambda _: Accuracy(), "", TABLE, "k"
    ),
}


def measure(name, n, few):
    """CPU seconds and MB of `fit` of size n, and of the method after it, in this process."""
    case = CASES[name]
    warnings.simplefilter("ignore")
    run(case.make(few), case, case.data(few))
    X, estimator = case.data(n), case.make(n)
    result = {}
    for part, repeats in (("fit", 1), ("method", 3)):
        before, seconds = peak(), []
        for _ in range(repeats):
            started = time.process_time()
            run(estimator, case, X, part)
            seconds.append(time.process_time() - started)
        result[part] = {"seconds": min(seconds), "MB": peak() - before}
    return result


def run(estimator, case, X, part=None):
    if part in (None, "fit"):
        estimator.fit(X, *([] if case.targets is None else [case.targets(len(X))]))
    if part in (None, "method") and case.method:
        queries = (X[:1000],) if case.method == "kneighbors" else (X,)
        getattr(estimator, case.method)(*queries)


def peak():
    """The largest memory of the process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


def new_processes():
    """How processes are started. Copies of this one could wait for ever for threads of torch, which are not copied."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sklinvariant", "sklearn.cluster"])  # imports take seconds
    return context


def measured_apart(name, n, few):
    """`measure` in a new process."""
    with new_processes().Pool(1) as pool:
        return pool.apply(measure, (name, n, few))


def sizes_of(case, shrink):
    """The size of the constant part, and the four sizes."""
    return [max(FEWEST[case.axis], int(case.largest / shrink * share)) for share in (CONSTANT, *SIZES)]


def growth(sizes, values, least):
    """The exponent of n in values, whose first one is that of the constant part; None if they do not grow."""
    rest = np.subtract(values[1:], values[0])
    seen = (rest > least) & (np.array(sizes[1:]) > 2 * sizes[0])  # the constant part needs much fewer samples
    if seen.sum() < 3:
        return None
    return float(np.polyfit(np.log(np.array(sizes[1:])[seen]), np.log(rest[seen]), 1)[0])


def curves(case, sizes, points):
    """{(part, unit): (values of all sizes, exponent)} of a case."""
    found = {}
    for part in ("fit", "method") if case.method else ("fit",):
        for unit, least in LEAST.items():
            values = [point[part][unit] for point in points]
            found[part, unit] = values, growth(sizes, values, least)
    return found


def row(name, case, sizes, found):
    """A row of the table: values at the largest size, and exponents."""
    cells, steepest, memory = [], 0, 0
    for part, unit in (("fit", "seconds"), ("fit", "MB"), ("method", "seconds")):
        values, exponent = found.get((part, unit), ([math.nan], None))
        cells += ["" if math.isnan(values[-1]) else f"{values[-1]:.3g}", "-" if exponent is None else f"{exponent:.2f}"]
        if unit == "MB":
            memory = exponent or 0
        else:
            steepest = max(steepest, exponent or 0)
    reason = case.reason or (CACHED if STEEP < steepest <= MOST_CACHED else GROWING if memory > STEEP else "not known")
    why = reason if max(steepest, memory) > STEEP else ""
    return [name, case.samples, f"{sizes[1]:,} - {sizes[-1]:,}", *cells, why]


COLUMNS = [
    "",
    "samples",
    "n, d or k",
    "fit, s",
    "exponent",
    "fit, MB",
    "exponent",
    "transform or predict, s",
    "exponent",
    "why above 1.1",
]


@style()
def draw(points, path):
    """A panel for each case with a fit that grows: time and memory less the constant part, on logarithmic axes."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    points = {name: case for name, case in points.items() if any(exponents(case).values())}
    columns = min(5, max(1, len(points)))
    figure, axes = plt.subplots(max(1, -(-len(points) // columns)), columns, sharey=True, squeeze=False)
    figure.set_size_inches(2.2 * columns, 1.7 * len(axes) + 0.8)
    for ax in axes.flat[len(points) :]:
        ax.remove()
    for ax, (name, case) in zip(axes.flat, points.items(), strict=False):
        panel(ax, name, case)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.supxlabel("n, d or k")
    figure.supylabel("cost of the fit; the numbers are exponents")
    figure.savefig(path, dpi=100)


def panel(ax, name, case):
    sizes = case["n"]
    ax.set_prop_cycle(color=palette(6)[[0, 5]])
    for unit, label, marker, place in (("seconds", "CPU time, s", "o-", 0.04), ("MB", "memory, MB", "s--", 0.52)):
        values = case[f"fit, {unit}"]
        rest = np.subtract(values[1:], values[0])
        rest[rest <= LEAST[unit]] = np.nan
        (line,) = ax.loglog(sizes[1:], rest, marker, markersize=4, label=label)
        exponent = exponents(case)[unit]
        if exponent is not None:
            ax.text(place, 0.86, f"{exponent:.2f}", color=line.get_color(), transform=ax.transAxes)
    ax.set(xlim=(sizes[1] / 1.5, sizes[-1] * 1.5), ylim=(LEAST["seconds"], 1e5), title=name)
    ax.set_xticks([sizes[1], sizes[-1]], [f"{sizes[1]:,}", f"{sizes[-1]:,}"])
    ax.set_yticks([0.01, 1, 100, 10_000])
    ax.minorticks_off()
    ax.grid(alpha=0.3)


def exponents(case):
    """{unit: exponent of the fit} of the points of a case."""
    return {unit: growth(case["n"], case[f"fit, {unit}"], least) for unit, least in LEAST.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--shrink", type=float, default=1, help="divide all sizes by this number")
    parser.add_argument("--figure", help="file for the figure")
    add_json(parser)
    parser.add_argument("--results", type=Path, help="draw the figure of this scaling.json, and measure nothing")
    args = parser.parse_args()
    if args.results:
        return draw(json.loads(args.results.read_text(encoding="utf-8"))["points"], args.figure or "scaling.png")
    measured = {}
    try:
        for name in args.cases:
            sizes = sizes_of(CASES[name], args.shrink)
            points = [measured_apart(name, n, sizes[0]) for n in sizes]
            measured[name] = sizes, curves(CASES[name], sizes, points)
            print(*row(name, CASES[name], *measured[name]), sep=" | ", flush=True)
    except KeyboardInterrupt:
        print("interrupted: the results are those of the cases so far")
    table = [row(name, CASES[name], *found) for name, found in measured.items()]
    points = {
        name: {"n": sizes, **{f"{part}, {unit}": values for (part, unit), (values, _) in found.items()}}
        for name, (sizes, found) in measured.items()
    }
    report("scaling", COLUMNS, table, args, points=points)
    if args.figure:
        draw(points, args.figure)


if __name__ == "__main__":
    main()
