"""Hashing in the league.

A set is split once: at most 500 random rows are queries, the others are the database, on which hashers are fitted
without labels. The database is ranked by the Hamming distance of codes of 32, 64, 128 and 256 bits. The first score is
the mean average precision in % with the 50 nearest rows (Euclidean distance) as relevant rows, averaged over the four
lengths. The second table has the rows of the same class as relevant rows. The third has both for each length, averaged
over the sets. The JSON contains the scores of each length.

ITQ and PCA give at most one bit for each feature. If there are fewer features than bits, their codes are shorter.
"""

import numpy as np
from league_sets import Family, bundled, cifar, coil, eth, from_files, grey, groceries
from sklearn.datasets import load_breast_cancer, load_digits

from sklinvariant.hashing import ITQHasher, LSHHasher, NeighborHasher, PCAHasher, RBMHasher, SpectralHasher
from sklinvariant.metrics import exact_ranking, mean_average_precision

BITS = (32, 64, 128, 256)
N_NEAREST = 50
NEIGHBORS, CLASSES = "mAP of the 50 nearest rows", "mAP of the same class"


def split(X, y):
    """Database and queries: (rows, rows, labels, labels)."""
    order = np.random.RandomState(0).permutation(len(X))
    n_queries = min(500, len(X) // 5)
    queries, database = order[:n_queries], order[n_queries:]
    return X[database], X[queries], y[database], y[queries]


def hasher(make):
    """A method that scores the hashers ``make(n_bits, seed)``; ``n_bits`` may be at most the number of features."""

    def method(data, seed):
        X, y = data
        database, queries, labels, query_labels = split(np.asarray(X, dtype=np.float32), y)
        nearest = exact_ranking(queries, database, n_neighbors=N_NEAREST)
        same = query_labels[:, None] == labels
        scores = {NEIGHBORS: 0.0, CLASSES: 0.0}
        for n_bits in BITS:
            model = make(n_bits, X.shape[1], seed).fit(database)
            ranking = exact_ranking(model.transform(queries), model.transform(database), metric="hamming")
            for name, relevant in ((NEIGHBORS, nearest), (CLASSES, same)):
                value = 100 * mean_average_precision(ranking, relevant)
                scores[f"{name}, {n_bits} bits"] = value
                scores[name] += value / len(BITS)
        return scores

    return method


def ours(kind, **settings):
    return hasher(lambda n_bits, d, seed: kind(n_bits, random_state=seed, **settings))


def by_bits(results):
    """Columns and rows of the table of the scores of each length, averaged over the sets and the seeds."""
    rows = []
    for name, sets in results.items():
        cells = []
        for n_bits in BITS:
            pair = (
                np.mean([run[f"{score}, {n_bits} bits"] for runs in sets.values() for run in runs])
                for score in (NEIGHBORS, CLASSES)
            )
            cells.append(" / ".join(f"{value:.1f}" for value in pair))
        rows.append([name, *cells])
    return ["50 nearest / same class", *(f"{n_bits} bits" for n_bits in BITS)], rows


HALF = dict.fromkeys(range(10), 500)
HASHING = Family(
    "hashing",
    "mean average precision, %",
    development={
        "digits": bundled(load_digits),
        "MNIST": from_files(grey, HALF, name="mnist"),
        "CIFAR-10 0 2 4 6 8": from_files(cifar, dict.fromkeys((0, 2, 4, 6, 8), 500)),
        "ETH-80, 30 objects": from_files(eth, dict.fromkeys(range(0, 60, 2), 41)),
    },
    evaluation={
        "breast cancer, standardised": bundled(load_breast_cancer, standardised=True),
        "Fashion-MNIST": from_files(grey, HALF, name="fashion_mnist"),
        "CIFAR-10 1 3 5 7 9": from_files(cifar, dict.fromkeys((1, 3, 5, 7, 9), 500)),
        "COIL-20": from_files(coil),
        "ETH-80, 50 objects": from_files(eth, dict.fromkeys([*range(1, 60, 2), *range(60, 80)], 41)),
        "groceries, 31 products": from_files(groceries),
    },
    methods={
        "ours: NeighborHasher, default settings": ours(NeighborHasher),
        "ours: NeighborHasher, τ = 1/4 (for classes)": ours(NeighborHasher, temperature=0.25),
        "ours: RBMHasher, default settings (the paper's)": ours(RBMHasher),
        "ITQ": hasher(lambda n_bits, d, seed: ITQHasher(min(n_bits, d), random_state=seed)),
        "PCA and a random rotation": hasher(
            lambda n_bits, d, seed: ITQHasher(min(n_bits, d), max_iter=0, random_state=seed)
        ),
        "PCA": hasher(lambda n_bits, d, seed: PCAHasher(min(n_bits, d))),
        "LSH": ours(LSHHasher),
        "spectral hashing": hasher(lambda n_bits, d, seed: SpectralHasher(n_bits)),
    },
    tables={"classes": CLASSES, "bits": by_bits},
    earlier="ours: RBMHasher, default settings (the paper's)",
)
