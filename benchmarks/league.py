"""Every family of methods against the strongest simple alternatives, on sets for development and for evaluation.

    python benchmarks/league.py FAMILY [FAMILY ...] [--sets development evaluation] [--seeds 5]
    options: [--data FOLDER] [--cache FOLDER] [--only WORD ...] [--methods WORD ...]
        [--earlier FOLDER ...] [--json FOLDER]

A family is a list of sets, a list of named methods and a score. Settings and defaults are chosen on the development
sets only; the evaluation sets are for the published table. For each kind of sets, the script prints the score of each
method on each set (mean ± standard deviation over the seeds), the mean over the sets, the mean rank (1 is the best),
the seconds of a fit (summed over the sets, median over the seeds), and on how many sets the default of the family wins,
is level (within one point) and loses. ``--only`` and ``--methods`` select sets and methods whose names contain a word.
``--earlier`` takes runs, such as those of other methods or of an earlier version, from the JSON of another call.

"clustering": accuracy in %, with clusters matched one to one with classes. Labels are used for nothing else. Every
method is given the same rows and the number of classes, except HDBSCAN, which finds a number itself. k-means and
mixtures are the best of 10 and 5 starts by their own objective. Mixtures are fitted to at most 30 principal components.
The JSON also contains the normalised mutual information.

Without ``--data`` only the sets that scikit-learn contains are used. FOLDER contains ``mnist.npz``,
``fashion_mnist.npz``, ``cifar10_residual.npz``, ``coil20_32.npz``, ``eth80_128.zip``, ``grocery_packages_176.zip`` and
``weights/squeezenet_v1.1_imagenet_notop.npz``. Features are kept in the folder ``--cache``.
"""

import argparse
import csv
import functools
import io
import json
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import add_json, report
from scipy.stats import rankdata
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize, scale

from sklinvariant import IICClusterer
from sklinvariant.metrics import clustering_accuracy

LEVEL = 1.0  # largest difference, in points, of results that count as level


@dataclass
class Family:
    """``sets`` are functions of the folders of data and cache; ``methods`` are functions ``(set, seed) -> scores``.

    The first of the scores is compared. The methods whose names begin with "ours" are ours; the first is the default.
    """

    name: str
    unit: str
    development: dict[str, Callable]
    evaluation: dict[str, Callable]
    methods: dict[str, Callable]


# Sets. Each function loads (X, y); the first ones need no files.


def of_sizes(X, y, sizes):
    """The first samples of each class in a random order that is always the same; ``sizes`` maps classes to numbers."""
    order = np.random.RandomState(0).permutation(len(y))
    chosen = np.concatenate([order[y[order] == label][:size] for label, size in sizes.items()])
    chosen = np.random.RandomState(1).permutation(chosen)
    return X[chosen], y[chosen]


def from_to(classes, largest, smallest):
    """Sizes of classes in a geometric sequence."""
    return dict(zip(classes, np.geomspace(largest, smallest, len(classes)).round().astype(int), strict=True))


def bundled(load, sizes=None, standardised=False):
    def loaded(data, cache):
        X, y = load(return_X_y=True)
        X = scale(X) if standardised else X
        return (X, y) if sizes is None else of_sizes(X, y, sizes)

    return loaded


def from_files(read, sizes=None, **options):
    """A set that needs the data folder; the arrays that ``read`` returns are kept in the cache folder."""

    def loaded(data, cache):
        words = [read.__name__, *map(str, options.values())]
        path = None if cache is None else cache / f"{'-'.join(words)}.npz"
        if path is not None and path.exists():
            with np.load(path) as file:
                X, y = file["X"], file["y"]
        else:
            X, y = read(data, **options)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, X=X, y=y)
        return (X, y) if sizes is None else of_sizes(X, y, sizes)

    loaded.needs_files = True
    return loaded


def grey(data, name):
    """Pixels (n, 784) of the first 10,000 training images."""
    with np.load(data / f"{name}.npz") as file:
        X, y = file["x_train"][:10_000], file["y_train"][:10_000].ravel().astype(int)
    return (X.reshape(len(X), -1) / 255).astype(np.float32), y


def coil(data):
    with np.load(data / "coil20_32.npz") as file:
        return (file["x"].reshape(len(file["x"]), -1) / 255).astype(np.float32), file["y"].astype(int)


def cifar(data):
    """Features of the first 5,000 test images, which are stored as differences."""
    with np.load(data / "cifar10_residual.npz") as file:
        planes = np.cumsum(np.cumsum(file["q_test"][:, :5000], axis=-2, dtype=np.uint8), axis=-1, dtype=np.uint8)
        y = file["y_test"].ravel()[:5000].astype(int)
    images = np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], -1)
    return features(data, images, 96), y


def eth(data):
    """Features of all views, with the number of the object as label."""
    images, rows = photographs(data / "eth80_128.zip")
    return features(data, images, 128), np.unique([row["object"] for row in rows], return_inverse=True)[1]


def groceries(data):
    """Features of the photographs that were taken with a phone, with the product as label."""
    images, rows = photographs(data / "grocery_packages_176.zip", lambda row: row["split"] != "iconic")
    return features(data, images, 128), np.unique([row["fine"] for row in rows], return_inverse=True)[1]


def photographs(path, wanted=lambda row: True):
    """Photographs fitted into squares of 128 pixels, and their rows of labels.csv."""
    import cv2

    from sklinvariant.images._pixels import fit_into

    with zipfile.ZipFile(path) as archive:
        rows = [row for row in csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")) if wanted(row)]
        decoded = (cv2.imdecode(np.frombuffer(archive.read(row["path"]), np.uint8), cv2.IMREAD_COLOR) for row in rows)
        return np.stack([fit_into(np.ascontiguousarray(image[..., ::-1]), 128) for image in decoded]), rows


def features(data, images, size):
    """Means (n, 512) over the cells of SqueezeNet 1.1 with the weights of ImageNet."""
    from cluster_quality import embed

    return embed(images, data / "weights" / "squeezenet_v1.1_imagenet_notop.npz", size)


# Clustering


def clusterer(make):
    """A method that clusters the rows of a set with ``make(X, k, seed) -> labels``."""

    def method(data, seed):
        X, y = data
        labels = make(X, len(np.unique(y)), seed)
        return {
            "accuracy": 100 * clustering_accuracy(y, labels),
            "normalised mutual information": 100 * normalized_mutual_info_score(y, labels),
        }

    return method


def reduced(X, n_components):
    n_components = min(n_components, min(X.shape)) if n_components >= 1 else n_components
    return PCA(n_components, svd_solver="full").fit_transform(X)


def iic(**settings):
    return clusterer(lambda X, k, seed: IICClusterer(k, random_state=seed, **settings).fit(X).labels_)


def kmeans(change):
    return clusterer(lambda X, k, seed: KMeans(k, n_init=10, random_state=seed).fit_predict(change(X)))


def spectral(X, k, seed):
    return SpectralClustering(k, affinity="nearest_neighbors", random_state=seed).fit_predict(X)


def mixture(kind):
    def make(X, k, seed):
        X = np.asarray(reduced(X, 30) if X.shape[1] > 30 else X, dtype=np.float64)
        for least_variance in (1e-6, 1e-4, 1e-2, 1.0):  # raised if a component collapses
            try:
                model = GaussianMixture(k, covariance_type=kind, n_init=5, reg_covar=least_variance, random_state=seed)
                return model.fit_predict(X)
            except ValueError:
                continue
        return np.zeros(len(X), dtype=int)

    return clusterer(make)


SKEWED = {0: 180, 3: 120, 5: 80, 8: 50, 9: 30}
CLUSTERING = Family(
    "clustering",
    "accuracy, %",
    development={
        "digits": bundled(load_digits),
        "digits, 1:20": bundled(load_digits, from_to(range(10), 174, 9)),
        "digits 0 3 5 8 9, 1:6": bundled(load_digits, SKEWED),
        "digits 4 9, 1:10": bundled(load_digits, {4: 180, 9: 18}),
        "iris": bundled(load_iris),
        "wine": bundled(load_wine),
        "wine, standardised": bundled(load_wine, standardised=True),
        "MNIST, 1:20": from_files(grey, from_to(range(10), 400, 20), name="mnist"),
        "CIFAR-10": from_files(cifar, dict.fromkeys(range(10), 200)),
        "CIFAR-10 0 2 4 6 8, 1:10": from_files(cifar, from_to((0, 2, 4, 6, 8), 400, 40)),
        "ETH-80, 30 objects": from_files(eth, dict.fromkeys(range(0, 60, 2), 41)),
    },
    evaluation={
        "digits 1 3 5 7 9": bundled(load_digits, dict.fromkeys((1, 3, 5, 7, 9), 200)),
        "digits 1 2 4 6 7, 1:20": bundled(load_digits, from_to((7, 1, 6, 2, 4), 170, 9)),
        "breast cancer": bundled(load_breast_cancer),
        "breast cancer, standardised": bundled(load_breast_cancer, standardised=True),
        "Fashion-MNIST": from_files(grey, dict.fromkeys(range(10), 200), name="fashion_mnist"),
        "Fashion-MNIST, 1:20": from_files(grey, from_to(range(9, -1, -1), 400, 20), name="fashion_mnist"),
        "COIL-20": from_files(coil),
        "CIFAR-10 1 3 5 7 9, 1:10": from_files(cifar, from_to((9, 7, 5, 3, 1), 400, 40)),
        "ETH-80, 50 objects": from_files(eth, dict.fromkeys([*range(1, 60, 2), *range(60, 80)], 41)),
        "groceries, 31 products": from_files(groceries),
    },
    methods={
        "ours: IICClusterer, default settings": iic(),
        "ours: IICClusterer, λ = 2 (for equal sizes)": iic(entropy_weight=2.0),
        "k-means": kmeans(lambda X: X),
        "k-means, unit length": kmeans(normalize),
        "k-means, PCA to 90 %, unit length": kmeans(lambda X: normalize(reduced(X, 0.9))),
        "spectral clustering": clusterer(spectral),
        "Gaussian mixture, full": mixture("full"),
        "Gaussian mixture, diagonal": mixture("diag"),
        "Gaussian mixture, tied": mixture("tied"),
        "HDBSCAN": clusterer(lambda X, k, seed: HDBSCAN(copy=True).fit_predict(X)),
        "agglomerative clustering (Ward)": clusterer(lambda X, k, seed: AgglomerativeClustering(k).fit_predict(X)),
    },
)

FAMILIES = {family.name: family for family in (CLUSTERING,)}


# The league


def play(methods, sets, seeds, earlier=None):
    """Scores and seconds: {method: {set: [{"seconds": ..., name of a score: ...} for each seed]}}.

    Runs that ``earlier`` contains are not repeated. A method that is None has only such runs.
    """
    results = {name: {} for name in methods}
    for set_name, load in sets.items():
        data = load()
        for name, method in methods.items():
            known = (earlier or {}).get(name, {}).get(set_name, [])[:seeds]
            new = [timed(method, data, seed) for seed in range(len(known), seeds if method else 0)]
            results[name][set_name] = [*known, *new]
            scores = first_scores(results[name][set_name])
            print(f"{set_name}: {name}: {np.mean(scores):.1f} ± {np.std(scores):.1f}", flush=True)
    return results


def timed(method, data, seed):
    started = time.perf_counter()
    scores = method(data, seed)
    return {**scores, "seconds": time.perf_counter() - started}


def first_scores(runs):
    return [next(iter(run.values())) for run in runs]


def league(results):
    """Columns and rows of the table: a row for each method and, if there are any, one for the best of the others."""
    methods, sets = list(results), list(next(iter(results.values())))
    means = np.array([[np.mean(first_scores(results[name][one])) for one in sets] for name in methods])
    spreads = np.array([[np.std(first_scores(results[name][one])) for one in sets] for name in methods])
    ranks = np.apply_along_axis(rankdata, 0, -means).mean(1)
    ours = [name.startswith("ours") for name in methods]
    default = means[ours.index(True)] if any(ours) else None
    rows = []
    for name, mean, spread, rank in zip(methods, means, spreads, ranks, strict=True):
        cells = [f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, spread, strict=True)]
        seconds = sum(np.median([run["seconds"] for run in results[name][one]]) for one in sets)
        rows.append([name, *cells, f"{mean.mean():.1f}", f"{rank:.1f}", f"{seconds:.0f}", against(default, mean)])
    if any(ours) and not all(ours):
        best = means[np.invert(ours)].max(0)
        cells = [f"{m:.1f}" for m in best]
        rows.append(
            ["the best of the others on each set", *cells, f"{best.mean():.1f}", "", "", against(default, best)]
        )
    return ["", *sets, "mean", "mean rank", "seconds", "default wins / level / loses"], rows


def against(default, other):
    """On how many sets the default wins, is level and loses."""
    if default is None or default is other or np.array_equal(default, other):
        return ""
    gain = default - other
    return f"{(gain > LEVEL).sum()} / {(np.abs(gain) <= LEVEL).sum()} / {(gain < -LEVEL).sum()}"


def numbers(results):
    """The numbers behind the table: rows of a method, a set, the name of a score, and its value for each seed."""
    return [
        [method, one, score, *(round(run[score], 2) for run in runs)]
        for method, sets in results.items()
        for one, runs in sets.items()
        for score in runs[0]
    ]


def read_numbers(path):
    """The results that `numbers` describes, from the JSON of an earlier call; none if there is no such file."""
    results = {}
    for method, one, score, *values in json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else ():
        runs = results.setdefault(method, {}).setdefault(one, [{} for _ in values])
        for run, value in zip(runs, values, strict=True):
            run[score] = value
    return results


def chosen(named, words):
    return {name: one for name, one in named.items() if not words or any(word in name for word in words)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="+", choices=FAMILIES, metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--sets", nargs="+", choices=("development", "evaluation"), default=["development"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="folder of the sets that scikit-learn does not contain")
    parser.add_argument("--cache", type=Path, help="folder in which features are kept")
    parser.add_argument("--only", nargs="+", help="words in the names of the sets")
    parser.add_argument("--methods", nargs="+", help="words in the names of the methods")
    parser.add_argument("--earlier", type=Path, nargs="+", default=[], help="folders with the JSON of other methods")
    add_json(parser)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # of convergence, and of graphs that are not connected
    for name in args.families:
        family = FAMILIES[name]
        for kind in args.sets:
            sets = chosen(getattr(family, kind), args.only)
            sets = {
                name: functools.partial(load, args.data, args.cache)
                for name, load in sets.items()
                if args.data is not None or not hasattr(load, "needs_files")
            }
            print(f"\n## {family.name}, {kind} sets ({family.unit})\n", flush=True)
            name = f"league_{family.name}_{kind}"
            earlier = {}
            for folder in args.earlier:
                earlier |= read_numbers(folder / f"{name}.json")
            methods = family.methods | dict.fromkeys(earlier.keys() - family.methods.keys())
            methods = dict(sorted(methods.items(), key=lambda item: not item[0].startswith("ours")))
            results = play(chosen(methods, args.methods), sets, args.seeds, earlier)
            print()
            columns, rows = league(results)
            report(name, columns, rows, args, runs=numbers(results))


if __name__ == "__main__":
    main()
