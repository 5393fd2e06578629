"""Aggregation of bags of local descriptors in the league.

The score is the accuracy in % on test images of a linear support vector machine on the aggregated vectors. For every
method, C is chosen by cross-validation on the training images, and so is whether features are standardised or only
divided by their common norm. Each seed draws other training and test images, 780 to 1,000 of each. The classes of
ETH-80 are 40 objects, those of the groceries 9 kinds of packages. Descriptors are the 7 x 7 cells of SqueezeNet 1.1
(512 features) or patches of 6 x 6 pixels. Mean, maximum and GeM are given these; methods with codewords and
second-order pooling are given their principal components, at most 64. Seconds are those of the aggregation, without the
search for C. The JSON also contains the number of features and, for the learned methods, the accuracy of their own
linear model.
"""

import functools
import time
from dataclasses import dataclass

import numpy as np
from league_sets import Family, bundled, cifar_images, from_files, grey, photographs
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklinvariant import (
    VLAD,
    BagOfWords,
    FisherVector,
    GeMPooling,
    LearnedBoW,
    LearnedFisherVector,
    LearnedVLAD,
    SecondOrderPooling,
)
from sklinvariant.feature_extraction import BackbonePatches, DensePatches
from sklinvariant.networks import SqueezeNet11Features


@dataclass
class Bags:
    """Descriptors X (n, m, d) of n images, their classes, and groups that are not divided."""

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray

    @functools.cached_property
    def splits(self):
        return {}

    def split(self, seed):
        """The training part and the test part: descriptors, their principal components, and classes."""
        if seed not in self.splits:
            halves = GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(self.X, self.y, self.groups)
            train, test = next(halves)
            raw = [self.X[part].astype(np.float32) for part in (train, test)]
            d = raw[0].shape[-1]
            pca = PCA(min(64, d), random_state=0).fit(raw[0].reshape(-1, d))
            reduced = [pca.transform(part.reshape(-1, d)).reshape(*part.shape[:2], -1) for part in raw]
            self.splits.clear()  # only one is kept
            self.splits[seed] = [*zip(raw, reduced, (self.y[train], self.y[test]), strict=True)]
        return self.splits[seed]


def cells_of(data, images):
    """Feature maps (n, 49, 512) of SqueezeNet 1.1 with the weights of ImageNet, in half precision."""
    cells = BackbonePatches(
        SqueezeNet11Features(),
        weights=data / "weights" / "squeezenet_v1.1_imagenet_notop.npz",
        bgr=True,  # the input of the published weights: 0-255 minus the mean colour
        mean=np.array([104, 117, 123]) / 255,
        std=1 / 255,
        image_size=128,
    ).fit(images[:1])
    parts = (np.asarray(cells.transform(images[start : start + 200]).values) for start in range(0, len(images), 200))
    return np.concatenate([part.astype(np.float16) for part in parts]).reshape(len(images), -1, 512)


def cifar_pixels(data, classes):
    """400 images of each class, (n, 32 * 32 * 3)."""
    images, y = cifar_images(data)
    chosen = np.concatenate([np.flatnonzero(y == int(label))[:400] for label in classes])
    return (images[chosen].reshape(len(chosen), -1) / 255).astype(np.float32), y[chosen], chosen


def cifar_cells(data, classes):
    X, y, groups = cifar_pixels(data, classes)
    images = (X.reshape(-1, 32, 32, 3) * 255).round().astype(np.uint8)
    return cells_of(data, images), y, groups


def eth_cells(data, categories):
    """All views of the objects of these categories, with the object as class."""
    images, rows = photographs(data / "eth80_128.zip")
    chosen = [i for i, row in enumerate(rows) if row["category"] in categories.split()]
    return cells_of(data, images[chosen]), np.array([rows[i]["object"] for i in chosen]), np.arange(len(chosen))


def grocery_cells(data):
    """The kinds of packages (milk, juice, ...); the official training and test photographs are the two groups."""
    images, rows = photographs(data / "grocery_packages_176.zip", lambda row: row["split"] in ("train", "test"))
    return cells_of(data, images), np.array([row["coarse"] for row in rows]), np.array([row["split"] for row in rows])


def bags(load):
    """A set of feature maps."""
    return wrapped(load, lambda X, y, groups: Bags(X, y, groups))


def patches(load, shape, stride=3):
    """A set of patches of 6 x 6 pixels of images of this shape."""

    def extracted(X, y, groups=None):
        X = DensePatches(6, stride=stride).fit_transform(np.asarray(X, dtype=np.float32).reshape(len(X), *shape))
        return Bags(X.values.reshape(len(X), -1, X.values.shape[1]), y, np.arange(len(y)))

    return wrapped(load, extracted)


def wrapped(load, change):
    def loaded(data, cache):
        return change(*load(data, cache))

    if hasattr(load, "needs_files"):
        loaded.needs_files = True
    return loaded


def pooled(make, reduced=True, feature_map=None):
    """A method that aggregates with ``make(seed)`` and classifies with a linear support vector machine."""

    def method(data, seed):
        (*X, y), (*X_test, y_test) = data.split(seed)
        started = time.perf_counter()
        aggregation = make(seed).fit(X[reduced], y)
        Z, Z_test = aggregation.transform(X[reduced]), aggregation.transform(X_test[reduced])
        seconds = time.perf_counter() - started
        if feature_map is not None:
            Z, Z_test = feature_map.fit_transform(Z), feature_map.transform(Z_test)
        scores = {"accuracy": tuned_accuracy(Z, y, Z_test, y_test, seed), "features": Z.shape[1], "seconds": seconds}
        if hasattr(aggregation, "predict"):
            scores["accuracy of its own linear model"] = 100 * aggregation.score(X_test[reduced], y_test)
        return scores

    return method


def tuned_accuracy(Z, y, Z_test, y_test, seed):
    """Accuracy in % of a linear support vector machine, with C and the scaling chosen on the training images."""
    best, accuracy = -1.0, None
    for scaler in (StandardScaler(), StandardScaler(with_std=False)):
        scaler.fit(Z)
        A, B = scaler.transform(Z), scaler.transform(Z_test)
        unit = np.sqrt((A**2).sum(1).mean())
        A, B = A / unit, B / unit
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        search = GridSearchCV(SVC(kernel="precomputed"), {"C": np.logspace(-1, 3, 5)}, cv=folds).fit(A @ A.T, y)
        if search.best_score_ > best:
            best, accuracy = search.best_score_, 100 * search.score(B @ A.T, y_test)
    return accuracy


def mean_and_max(seed):
    return make_union(GeMPooling(1), GeMPooling(np.inf))


def with_covariance(aggregation):
    return make_union(SecondOrderPooling(), aggregation)


EVEN, ODD = "02468", "13579"
AGGREGATION = Family(
    "aggregation",
    "accuracy, %",
    development={
        "CIFAR-10 0 2 4 6 8, cells": bags(from_files(cifar_cells, classes=EVEN)),
        "ETH-80 apple car cow cup, cells": bags(from_files(eth_cells, categories="apple car cow cup")),
        "digits, patches": patches(bundled(load_digits), (8, 8), stride=1),
        "MNIST, patches": patches(from_files(grey, dict.fromkeys(range(10), 200), name="mnist"), (28, 28)),
        "CIFAR-10 0 2 4 6 8, patches": patches(from_files(cifar_pixels, classes=EVEN), (32, 32, 3)),
    },
    evaluation={
        "CIFAR-10 1 3 5 7 9, cells": bags(from_files(cifar_cells, classes=ODD)),
        "ETH-80 dog horse pear tomato, cells": bags(from_files(eth_cells, categories="dog horse pear tomato")),
        "groceries, cells": bags(from_files(grocery_cells)),
        "Fashion-MNIST, patches": patches(
            from_files(grey, dict.fromkeys(range(10), 200), name="fashion_mnist"), (28, 28)
        ),
        "CIFAR-10 1 3 5 7 9, patches": patches(from_files(cifar_pixels, classes=ODD), (32, 32, 3)),
    },
    methods={
        "ours: LearnedVLAD, default settings": pooled(lambda seed: LearnedVLAD(random_state=seed)),
        "ours: LearnedVLAD, 16 codewords": pooled(lambda seed: LearnedVLAD(16, random_state=seed)),
        "ours: LearnedVLAD, default settings, and covariance": pooled(
            lambda seed: with_covariance(LearnedVLAD(random_state=seed))
        ),
        "ours: LearnedVLAD, 16 codewords, and covariance": pooled(
            lambda seed: with_covariance(LearnedVLAD(16, random_state=seed))
        ),
        "ours: LearnedBoW, default settings": pooled(
            lambda seed: LearnedBoW(random_state=seed), feature_map=AdditiveChi2Sampler()
        ),
        "ours: LearnedFisherVector, 16 components": pooled(lambda seed: LearnedFisherVector(16, random_state=seed)),
        "ours: LearnedFisherVector, default settings": pooled(lambda seed: LearnedFisherVector(random_state=seed)),
        "VLAD": pooled(lambda seed: VLAD(random_state=seed)),
        "Fisher vector": pooled(lambda seed: FisherVector(random_state=seed)),
        "Bag of Words": pooled(lambda seed: BagOfWords(random_state=seed), feature_map=AdditiveChi2Sampler()),
        "mean": pooled(lambda seed: GeMPooling(1), reduced=False),
        "mean + max": pooled(mean_and_max, reduced=False),
        "GeM": pooled(lambda seed: GeMPooling(), reduced=False),
        "covariance, square root": pooled(lambda seed: SecondOrderPooling()),
        "covariance with the mean, square root": pooled(lambda seed: SecondOrderPooling(center=False)),
    },
)
