"""Rotated MNIST: classifiers that are trained on upright digits, and tested on digits rotated by any angle.

    python benchmarks/rotated_mnist.py MNIST.npz [--images 1000] [--test 10000] [--seeds 1] [--json FOLDER]

MNIST.npz contains x_train, y_train, x_test and y_test (28 × 28). Each seed draws ``--images`` of the training images.
All seeds use the same ``--test`` test images, upright and rotated by the same angles between 0 and 360 degrees, with
bilinear interpolation. The table is printed after each seed, and with ``--json`` also recorded.

"n copies" are the training images rotated by multiples of 360 / n degrees, and "4 oblique copies" those rotated by 0,
22.5, 45 and 67.5 degrees. Classifiers have fixed settings, none of which was tuned on these images.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from league_equivariance import (
    OBLIQUE,
    autoencoder,
    canonical,
    copies,
    gradients,
    multiples,
    pixels,
    polar_fourier,
    principal_axis,
)
from measuring import add_json, report
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from skorch import NeuralNetClassifier
from torch import nn

from sklinvariant.transforms import Rotation

COLUMNS = ["features", "training images", "classifier", "upright", "any angle", "seconds"]


class Network(nn.Sequential):
    """A convolutional network for images of 28 × 28 pixels, given as rows."""

    def __init__(self):
        super().__init__(
            nn.Unflatten(1, (1, 28, 28)),
            *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)),
        )


def network():
    training = {"optimizer": torch.optim.Adam, "lr": 1e-3, "max_epochs": 20, "batch_size": 64}
    shuffled = {"iterator_train__shuffle": True, "train_split": None, "verbose": 0}
    return NeuralNetClassifier(Network, criterion=nn.CrossEntropyLoss, **training, **shuffled)


def hog(rows):
    images = rows.reshape(-1, 28, 28)
    return gradients(images, seed=None)(images)


def reduced_svm(*steps):
    return make_pipeline(*steps, PCA(0.95, svd_solver="covariance_eigh"), SVC(C=10))


CLASSIFIERS = {
    "scaler, linear SVM": lambda: make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False)),
    "scaler, RBF SVM": lambda: make_pipeline(StandardScaler(), SVC(C=10)),
    "PCA, RBF SVM": reduced_svm,
    "HOG, PCA, RBF SVM": lambda: reduced_svm(FunctionTransformer(hog)),
    "nearest neighbour": lambda: KNeighborsClassifier(1),
    "CNN": network,
}
TRAINING = {"upright": (0,), **{f"{n} copies": multiples(n) for n in (3, 4, 16)}, "4 oblique copies": OBLIQUE}
METHODS = {  # of each description, the classifiers for each kind of training images
    "ours: CanonicalRotation": (
        canonical(),
        {
            "upright": ["PCA, RBF SVM", "nearest neighbour", "HOG, PCA, RBF SVM", "CNN"],
            "3 copies": ["PCA, RBF SVM"],
        },
    ),
    "ours: EquivariantAutoencoder": (autoencoder(), {"upright": ["scaler, linear SVM", "scaler, RBF SVM"]}),
    "ours: EquivariantAutoencoder of oblique copies": (
        autoencoder(OBLIQUE),
        {"4 oblique copies": ["scaler, linear SVM", "scaler, RBF SVM"]},
    ),
    "pixels": (
        pixels,
        {
            "upright": ["PCA, RBF SVM", "HOG, PCA, RBF SVM", "CNN"],
            "4 copies": ["PCA, RBF SVM"],
            "16 copies": ["PCA, RBF SVM", "nearest neighbour", "HOG, PCA, RBF SVM", "CNN"],
        },
    ),
    "pixels, rotated by the principal axis": (principal_axis, {"upright": ["PCA, RBF SVM"]}),
    "Fourier magnitudes along circles": (polar_fourier, {"upright": ["PCA, RBF SVM"]}),
}


def load(path, n_test):
    """All training images and labels, the test images upright and rotated, and the test labels."""
    data = np.load(path)
    x, x_test = (data[f"x_{part}"].astype(np.float32) / 255 for part in ("train", "test"))
    x_test, y_test = x_test[:n_test], data["y_test"][:n_test].astype(int)
    angles = np.random.RandomState(0).uniform(0, 360, (len(x_test), 1))
    return x, data["y_train"].astype(int), (x_test, Rotation().apply(x_test, angles)), y_test


def evaluate(images, y, views, truth, seed):
    """The cells of each row that do not depend on the seed, and its accuracies in % and seconds."""
    for name, (describe, trainings) in METHODS.items():
        started = time.perf_counter()
        features = describe(images, seed)
        tests = [features(view) for view in views]
        of_test = time.perf_counter() - started
        for training, classifiers in trainings.items():
            started = time.perf_counter()
            rows = features(copies(images, TRAINING[training]))
            labels = np.tile(y, len(TRAINING[training]))
            described = of_test + time.perf_counter() - started
            for classifier in classifiers:
                torch.manual_seed(seed)
                started = time.perf_counter()
                model = CLASSIFIERS[classifier]().fit(rows, labels)
                accuracies = [100 * model.score(test, truth) for test in tests]
                yield (name, training, classifier), [*accuracies, described + time.perf_counter() - started]


def row(cells, runs):
    """A row of the table: means and standard deviations over seeds, and the median of the seconds."""
    means, spreads = np.mean(runs, axis=0), np.std(runs, axis=0)
    accuracies = [f"{means[i]:.1f}" + f" ± {spreads[i]:.1f}" * (len(runs) > 1) for i in range(2)]
    return [*cells, *accuracies, f"{np.median(runs, axis=0)[2]:.0f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    add_json(parser)
    args = parser.parse_args()
    x, y, views, truth = load(args.mnist, args.test)
    runs = {}
    for seed in range(args.seeds):
        chosen = np.random.RandomState(seed).permutation(len(x))[: args.images]
        for cells, results in evaluate(x[chosen], y[chosen], views, truth, seed):
            runs.setdefault(cells, []).append(results)
            print(f"seed {seed}: {', '.join(cells)}: {results}", flush=True)
        args.seeds = seed + 1  # those of the recorded table
        report("rotated_mnist", COLUMNS, [row(cells, of_seeds) for cells, of_seeds in runs.items()], args)


if __name__ == "__main__":
    main()
