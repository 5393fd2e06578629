"""Clustering of embeddings: the estimators for embeddings compared with other clusterers.

    python benchmarks/embeddings.py DATA [--cache FOLDER] [--seeds 3] [--methods TEMI k-means] [--sets CIFAR]
    python benchmarks/embeddings.py --features FILE.npz [FILE.npz ...]
    python benchmarks/embeddings.py DATA --number [--cache FOLDER] [--seeds 2] [--sets digits]
    python benchmarks/embeddings.py --large 1000000
    options: [--json FOLDER] [--resume]

The score is the accuracy in %, with clusters matched one to one with classes: the mean and standard deviation over the
seeds. Labels are used for nothing else. Every method gets the number of classes, except HDBSCAN. A seed is the random
state of a method; the rows are the same. With ``--json``, the table is written after each method, and ``--resume``
keeps the methods and sets that it has. Seconds are those of the processor for one seed, summed over the sets.

DATA is the data folder of `league.py`. Images are means over the cells of SqueezeNet 1.1, or of MobileNet v1 with
weights of 8 bits. "docstrings" are the first 2,000 letters of the docstrings of ten packages of SciPy, as TF-IDF
reduced to 64 components by SVD, with the package as label.

``--features`` compares the methods on embeddings of your own, with an array ``X`` (n, d) or several arrays ``X_1``,
``X_2`` of the spaces, and labels ``y``. Published for CIFAR-10: TEMI 96.9 with features of DINO and CLIP (Adaloglou et
al. 2023), TURTLE 99.5 with features of CLIP and DINOv2 (Gadetsky et al. 2024).

``--number`` compares the number of classes with the number that ``n_clusters="auto"`` finds for each seed, and with the
numbers whose clusters, found by TURTLE, linear classifiers predict best on rows that they have not seen: by accuracy,
and by normalised mutual information. All are searched up to twice the number of classes.

``--large`` measures the seconds of one fit on as many rows around 20 centres.
"""

import argparse
import importlib
import inspect
import json
import time
import warnings
from pathlib import Path

import numpy as np
from league_clustering import clusterer, kmeans, mixture, ours, spectral
from league_sets import bundled, cifar_images, coil, eth, features, from_files, photographs
from measuring import add_json, record, report, table
from mobilenet import embed
from scipy.stats import rankdata
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import accuracy_score, normalized_mutual_info_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from sklinvariant import ConsensusClusterer, IICClusterer, TEMIClusterer, TURTLEClusterer

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


def coil_squeezenet(data):
    X, y = coil(data)
    grey = (255 * X).round().astype(np.uint8).reshape(-1, 32, 32, 1)
    return features(data, np.repeat(grey, 3, axis=3), 96), y


def cifar_mobilenet(data):
    """Features of the first 2,000 test images."""
    images, y = cifar_images(data, 2000)
    return mobilenet(data, images, 96), y


def eth_mobilenet(data):
    images, rows = photographs(data / "eth80_128.zip")
    return mobilenet(data, images, 128), np.unique([row["object"] for row in rows], return_inverse=True)[1]


def mobilenet(data, images, size):
    return embed(images, data / "weights" / "mobilenet_v1_1.0_224_embedding_uint8.npz", size)


OBJECTS = dict.fromkeys([*range(1, 60, 2), *range(60, 80)], 41)
SETS = {
    "CIFAR-10, 10,000": from_files(cifar_train),
    "CIFAR-10, MobileNet": from_files(cifar_mobilenet),
    "COIL-20": from_files(coil_squeezenet),
    "ETH-80, 50 objects": from_files(eth, OBJECTS),
    "ETH-80, MobileNet": from_files(eth_mobilenet, OBJECTS),
    "digits 1 3 5 7 9": bundled(load_digits, dict.fromkeys((1, 3, 5, 7, 9), 200)),
    "docstrings": docstrings,
}


def many_kmeans(X, k, seed):
    runs = KMeans(3 * k, n_init=1)
    return ConsensusClusterer(runs, k, n_runs=20, random_state=seed).fit(normalize(X)).labels_


def gemini(X, k, seed):
    """The clusterer of GemClus whose kernel is linear, in batches, because it compares all pairs of rows of a batch."""
    from gemclus.linear import LinearMMD

    model = LinearMMD(k, batch_size=256, max_iter=300, random_state=seed)
    return model.fit_predict(np.asarray(X, dtype=np.float64))


METHODS = {
    "TEMIClusterer": ours(TEMIClusterer),
    "TEMIClusterer, λ = 2": ours(TEMIClusterer, entropy_weight=2.0),
    "TURTLEClusterer": ours(TURTLEClusterer),
    "TURTLEClusterer, λ = 2": ours(TURTLEClusterer, entropy_weight=2.0),
    "ConsensusClusterer": ours(ConsensusClusterer),
    "ConsensusClusterer of 20 k-means, 3 k": clusterer(many_kmeans),
    "IICClusterer": ours(IICClusterer),
    "IICClusterer, λ = 2": ours(IICClusterer, entropy_weight=2.0),
    "k-means": kmeans(lambda X: X),
    "k-means, unit length": kmeans(normalize),
    "spectral clustering": clusterer(spectral),
    "Gaussian mixture, full": mixture("full"),
    "HDBSCAN": clusterer(lambda X, k, seed: HDBSCAN(copy=True).fit_predict(X)),
    "GemClus, linear MMD": clusterer(gemini),
}
WITHOUT_SEED = {"HDBSCAN"}
LARGE = ("TEMIClusterer", "TURTLEClusterer", "IICClusterer", "k-means")
NUMBERS = ["", "classes", "auto", "agreement", "agreement, classes", "linear, accuracy", "linear, information"]


def chosen(known, words):
    return {name: known[name] for name in known if not words or any(word in name for word in words)}


def own_set(path):
    """The rows and labels of a file of features; several spaces are concatenated."""
    with np.load(path) as file:
        names = sorted(name for name in file.files if name.startswith("X"))
        rows = np.hstack([np.asarray(file[name], dtype=np.float32) for name in names])
        return rows, file["y"].ravel().astype(int)


def compare(sets, name, args):
    """Measure all methods on all sets, and write the table after each method."""
    methods = chosen(METHODS, args.methods)
    cells = found_before(name, args)
    for set_name, load in sets.items():
        data = None
        for method_name, method in methods.items():
            if (set_name, method_name) in cells:
                continue
            data = load()[:2] if data is None else data
            n_seeds = 1 if method_name in WITHOUT_SEED else args.seeds
            try:
                cells[set_name, method_name] = accuracies(method, data, n_seeds)
            except ImportError as error:
                print(f"{method_name} is left out: {error}", flush=True)
                continue
            print(f"{set_name}, {method_name}: {cells[set_name, method_name]}", flush=True)
            columns, rows = compared([*sets], [*methods], cells)
            measured = [[*key, *cell] for key, cell in cells.items()]
            record(name, columns, rows, args, measured=measured)
    print(table(*compared([*sets], [*methods], cells)), flush=True)


def found_before(name, args):
    """The accuracies and seconds that an earlier run has written, by set and method."""
    path = args.json / f"{name}.json" if args.resume and args.json else None
    if path is None or not path.exists():
        return {}
    return {(row[0], row[1]): row[2:] for row in json.loads(path.read_text(encoding="utf-8"))["measured"]}


def accuracies(method, data, n_seeds):
    """The accuracy for each seed, and the mean of the seconds of the processor."""
    started = time.process_time()
    found = [round(method(data, seed)["accuracy"], 2) for seed in range(n_seeds)]
    return [found, round((time.process_time() - started) / n_seeds, 2)]


def compared(sets, methods, cells):
    """The columns and rows of the table. Means and ranks are those of the methods that were measured on all sets."""
    complete = [method for method in methods if all((each, method) in cells for each in sets)]
    means = np.array([[np.mean(cells[each, method][0]) for each in sets] for method in complete])
    ranks = rankdata(-means, axis=0).mean(1) if complete else []
    summaries = {
        method: [f"{mean.mean():.1f}", f"{rank:.1f}", f"{sum(cells[each, method][1] for each in sets):.0f}"]
        for method, mean, rank in zip(complete, means, ranks, strict=True)
    }
    rows = [
        [method, *(written(cells.get((each, method))) for each in sets), *summaries.get(method, ["–"] * 3)]
        for method in methods
        if any((each, method) in cells for each in sets)
    ]
    return ["", *sets, "mean", "mean rank", "seconds"], rows


def written(cell):
    return "–" if cell is None else f"{np.mean(cell[0]):.1f} ± {np.std(cell[0]):.1f}"


def numbers(sets, args):
    """The numbers of clusters that are found without labels; the table is written after each set."""
    rows = []
    for name, load in sets.items():
        X, y = load()[:2]
        k = len(np.unique(y))
        settings = {"max_clusters": 2 * k, "max_epochs": 1}
        models = [TEMIClusterer("auto", random_state=seed, **settings).fit(X) for seed in range(args.seeds)]
        found = ", ".join(str(model.n_clusters_) for model in models)
        stability = np.stack([model.stability_ for model in models])
        agreement = [f"{stability.max(1).mean():.2f}", f"{stability[:, k - 2].mean():.2f}"]
        rows.append([name, str(k), found, *agreement, *generalisation(X, range(2, 2 * k + 1))])
        print(rows[-1], flush=True)
        record("embeddings_number", NUMBERS, rows, args)
    print(table(NUMBERS, rows), flush=True)


def generalisation(X, candidates):
    """The numbers of clusters that linear classifiers predict best on rows that they have not seen, by two scores."""
    scores = []
    for k in candidates:
        labels = TURTLEClusterer(k, n_heads=1, random_state=0).fit(X).labels_
        model, folds = make_pipeline(StandardScaler(), RidgeClassifier()), KFold(5, shuffle=True, random_state=0)
        predicted = cross_val_predict(model, X, labels, cv=folds)
        scores.append([accuracy_score(labels, predicted), normalized_mutual_info_score(labels, predicted)])
    return [str(candidates[best]) for best in np.argmax(scores, axis=0)]


def large(n, args):
    """Seconds of a fit on n rows of 128 features around 20 centres."""
    rng = np.random.default_rng(0)
    centres, y = rng.normal(size=(20, 128)).astype(np.float32), rng.integers(20, size=n)
    X = centres[y]
    for part in np.array_split(X, max(1, n // 100_000)):  # without a copy of all rows in float64
        part += rng.normal(size=part.shape, scale=0.8)
    rows = []
    methods = chosen(METHODS, args.methods) if args.methods else {name: METHODS[name] for name in LARGE}
    for name, method in methods.items():
        started = time.perf_counter()
        accuracy = method((X, y), 0)["accuracy"]
        rows.append([name, f"{n:,}", f"{accuracy:.1f}", f"{time.perf_counter() - started:.0f}"])
        print(rows[-1], flush=True)
    report("embeddings_large", ["", "rows", "accuracy, %", "seconds"], rows, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--features", nargs="+", type=Path)
    parser.add_argument("--number", action="store_true")
    parser.add_argument("--large", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--resume", action="store_true", help="keep what is in the file of --json")
    add_json(parser)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    if args.large:
        large(args.large, args)
    own = {path.stem: lambda path=path: own_set(path) for path in args.features or ()}
    known = {name: lambda load=load: load(args.data, args.cache) for name, load in chosen(SETS, args.sets).items()}
    for sets, name in ((own, "embeddings_own"), (known if args.data else {}, "embeddings")):
        if sets and args.number:
            numbers(sets, args)
        elif sets:
            compare(sets, name, args)


if __name__ == "__main__":
    main()
