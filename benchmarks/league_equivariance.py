"""Features of rotated images in the league.

Training images are upright. Test images are other images, rotated by any angle. The first score is the accuracy in %
of a classifier: a linear support vector machine, one with an RBF kernel, or nearest neighbours. Which one, its
parameters, and whether features are standardised are chosen for each method by cross-validation on training images.
The second table has the accuracy for images rotated by multiples of 90 degrees, the third that for upright images.

"n copies" are the training images rotated by multiples of 360 / n degrees. They are given to the classifier, and
cross-validation keeps the copies of an image together. Each seed splits the images and draws angles of its own. Of
ETH-80, 6 objects of a category are used for training and the other 4 for the test. Images are rotated at twice the
size at which methods get them, 14 × 14 (MNIST, Fashion-MNIST) or 16 × 16, but for the digits, which are 8 × 8.
"""

import functools
import time

import numpy as np
from league_sets import Family, photographs
from sklearn.model_selection import GridSearchCV, GroupKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from sklinvariant import CanonicalRotation, EquivariantAutoencoder
from sklinvariant.datasets import load_digits_images
from sklinvariant.transforms import Rotation

N_TRAIN, N_TEST = 600, 400
N_CHOSEN = 600  # rows for the choice of the classifier
ANY, QUARTERS, UPRIGHT = "accuracy", "accuracy at quarter turns", "accuracy of upright images"
TURN = Rotation(fill="edge")
OBLIQUE = (0, 22.5, 45, 67.5)


def digits(data, cache):
    loaded = load_digits_images()
    return loaded.images.astype(np.float32), loaded.target, np.arange(len(loaded.target))


def grey(name):
    def load(data, cache):
        with np.load(data / f"{name}.npz") as file:
            rows = np.random.RandomState(0).permutation(len(file["x_train"]))[:4000]
            return file["x_train"][rows], file["y_train"].ravel()[rows].astype(int), rows

    load.needs_files = True
    return load


def coil(remainder):
    """The objects with even or odd numbers."""

    def load(data, cache):
        with np.load(data / "coil20_32.npz") as file:
            images, y = file["x"], file["y"].ravel().astype(int)
        chosen = y % 2 == remainder
        return images[chosen], y[chosen], np.arange(chosen.sum())

    load.needs_files = True
    return load


def eth(*categories):
    def load(data, cache):
        images, rows = photographs(data / "eth80_128.zip", lambda row: row["category"] in categories)
        objects = np.array([row["object"] for row in rows])
        return (
            shrunk(images, 4),
            np.unique([name.rstrip("0123456789") for name in objects], return_inverse=True)[1],
            objects,
        )

    load.needs_files = True
    return load


def groceries(data, cache):
    """The ten products with most photographs taken with a phone."""
    images, rows = photographs(data / "grocery_packages_176.zip", lambda row: row["split"] != "iconic")
    y, counts = np.unique([row["fine"] for row in rows], return_inverse=True, return_counts=True)[1:]
    chosen = np.isin(y, np.argsort(-counts)[:10])
    return shrunk(images, 4)[chosen], y[chosen], np.flatnonzero(chosen)


groceries.needs_files = True


def shrunk(images, factor):
    """Means of squares of pixels, as floats in 0-1."""
    n, h, w = images.shape[:3]
    images = images / (255 if images.dtype == np.uint8 else 1)
    squares = images.reshape(n, h // factor, factor, w // factor, factor, *images.shape[3:])
    return squares.mean((2, 4)).astype(np.float32)


def rotated(images, degrees):
    """Rotated by an angle for each image, at the size that methods get."""
    turned = TURN.apply(images, np.reshape(degrees, (-1, 1)))
    return turned if images.shape[1] < 16 else shrunk(turned, 2)


def split(data, seed):
    """Training images, labels and groups, and three sets of test images with their labels."""
    images, y, groups = data
    if len(np.unique(groups)) == len(groups):
        train, test = train_test_split(np.arange(len(y)), test_size=1 / 3, random_state=seed, stratify=y)
    else:
        rng = np.random.RandomState(seed)
        unseen = [rng.permutation(np.unique(groups[y == label]))[:4] for label in np.unique(y)]
        is_test = np.isin(groups, np.concatenate(unseen))
        train, test = rng.permutation(np.flatnonzero(~is_test)), rng.permutation(np.flatnonzero(is_test))
    train, test = train[:N_TRAIN], test[:N_TEST]
    rng = np.random.RandomState(seed)
    quarters, any_angle = 90.0 * rng.randint(4, size=len(test)), rng.uniform(0, 360, len(test))
    views = {ANY: any_angle, QUARTERS: quarters, UPRIGHT: np.zeros(len(test))}
    views = {name: rotated(images[test], degrees) for name, degrees in views.items()}
    return rotated(images[train], np.zeros(len(train))), y[train], groups[train], views, y[test]


def copies(images, angles):
    """The images rotated by each of the angles, copy by copy."""
    return np.concatenate([TURN.apply(images, [[angle]]) for angle in angles])


def multiples(n):
    return [360 * i / n for i in range(n)]


NEIGHBORS = [{"model": [KNeighborsClassifier()], "model__n_neighbors": [1, 3, 5]}]
CLASSIFIERS = [
    {"scaler": ["passthrough", StandardScaler()], "model": [LinearSVC(dual=False)], "model__C": [0.01, 0.1, 1]},
    {"scaler": ["passthrough", StandardScaler()], "model": [SVC()], "model__C": [1, 10, 100]},
    *NEIGHBORS,
]


def tuned(grid, rows, y, groups, seed):
    """The best model of the grid for some of the rows, fitted to all."""
    some = np.random.RandomState(seed).permutation(len(rows))[:N_CHOSEN]
    pipeline = Pipeline([("scaler", "passthrough"), ("model", SVC())])
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(3), refit=False)
    search.fit(rows[some], y[some], groups=groups[some])
    return pipeline.set_params(**search.best_params_).fit(rows, y)


def classified(describe, angles=(0,), grid=CLASSIFIERS):
    """A method: ``describe(images, seed)`` returns a function of images to features, fitted without labels.

    The classifier gets copies of the training images, rotated by the angles.
    """

    def method(data, seed):
        started = time.perf_counter()
        images, y, groups, views, truth = split(data, seed)
        features = describe(images, seed)
        rows = features(copies(images, angles))
        model = tuned(grid, rows, np.tile(y, len(angles)), np.tile(groups, len(angles)), seed)
        scores = {name: 100 * np.mean(model.predict(features(view)) == truth) for name, view in views.items()}
        earlier = getattr(features, "seconds", 0.0)  # of a fit that another method has made
        return {**scores, "seconds": time.perf_counter() - started + earlier}

    return method


def flat(images):
    return images.reshape(len(images), -1)


def pixels(images, seed):
    return flat


def gradients(images, seed):
    from skimage.feature import hog

    settings = {"orientations": 8, "pixels_per_cell": (4, 4), "cells_per_block": (2, 2)}
    axis = -1 if images.ndim == 4 else None
    return lambda images: np.stack([hog(image, channel_axis=axis, **settings) for image in images])


def polar_fourier(images, seed):
    """Magnitudes of the Fourier coefficients along circles, which a rotation does not change."""
    from skimage.transform import warp_polar

    side, axis = images.shape[1], -1 if images.ndim == 4 else None
    centre, settings = ((side - 1) / 2,) * 2, {"radius": side / 2, "output_shape": (32, side), "channel_axis": axis}

    def features(images):
        polar = np.stack([warp_polar(image, center=centre, **settings) for image in images])
        return flat(np.abs(np.fft.rfft(polar, axis=1))[:, :12]).astype(np.float32)

    return features


def principal_axis(images, seed):
    """Pixels of images rotated so that the axis of their brightness is upright, with more weight in the upper half."""

    def features(images):
        grey = images.mean(-1) if images.ndim == 4 else images
        side = grey.shape[1]
        down, across = (np.mgrid[:side, :side] - (side - 1) / 2).reshape(2, -1)
        weights = flat(np.abs(grey - np.median(grey, (1, 2), keepdims=True))) * (down**2 + across**2 < side**2 / 4)
        angles = np.arctan2(-2 * weights @ (across * down), weights @ (across**2 - down**2)) / 2  # of the axis
        along = np.cos(angles)[:, None] * across - np.sin(angles)[:, None] * down
        angles += np.pi * ((weights * along**3).sum(1) < 0)
        return flat(TURN.apply(images, 90 - np.degrees(angles)[:, None]))

    return features


@functools.lru_cache(maxsize=1)
def fitted_rotation(pixels, shape, seed):
    """The fitted model of images, given as bytes, and the seconds of its fit, for several methods in succession."""
    started = time.perf_counter()
    model = CanonicalRotation(random_state=seed).fit(np.frombuffer(pixels, np.float32).reshape(shape))
    return model, time.perf_counter() - started


def canonical(describe=pixels):
    """Features of images in their canonical pose."""

    def described(images, seed):
        before = fitted_rotation.cache_info().hits
        model, seconds = fitted_rotation(images.tobytes(), images.shape, seed)
        is_known, describe_upright = fitted_rotation.cache_info().hits > before, describe(images, seed)

        def features(images):
            return describe_upright(model.transform(images))

        features.seconds = is_known * seconds
        return features

    return described


def autoencoder(angles=(0,)):
    """Features of an equivariant autoencoder that is fitted to rotated copies of the images."""

    def describe(images, seed):
        max_epochs = 30 // len(angles)  # for the same number of steps
        return EquivariantAutoencoder(max_epochs=max_epochs, random_state=seed).fit(copies(images, angles)).transform

    return describe


EQUIVARIANCE = Family(
    "equivariance",
    "accuracy at any angle, %",
    development={
        "digits": digits,
        "MNIST": grey("mnist"),
        "COIL-20, even objects": coil(0),
        "ETH-80, apple car cow cup": eth("apple", "car", "cow", "cup"),
    },
    evaluation={
        "Fashion-MNIST": grey("fashion_mnist"),
        "COIL-20, odd objects": coil(1),
        "ETH-80, dog horse pear tomato": eth("dog", "horse", "pear", "tomato"),
        "groceries, 10 products": groceries,
    },
    methods={
        "ours: CanonicalRotation, default settings": classified(canonical()),
        "ours: CanonicalRotation, 3 copies": classified(canonical(), multiples(3)),
        "ours: CanonicalRotation, HOG": classified(canonical(gradients)),
        "ours: CanonicalRotation, nearest neighbours": classified(canonical(), grid=NEIGHBORS),
        "ours: EquivariantAutoencoder, default settings (before)": classified(autoencoder()),
        "ours: EquivariantAutoencoder, 4 oblique copies": classified(autoencoder(OBLIQUE), OBLIQUE),
        "pixels": classified(pixels),
        "pixels, 4 copies": classified(pixels, multiples(4)),
        "pixels, 16 copies": classified(pixels, multiples(16)),
        "pixels, 16 copies, nearest neighbours": classified(pixels, multiples(16), NEIGHBORS),
        "pixels, rotated by the principal axis": classified(principal_axis),
        "HOG, 16 copies": classified(gradients, multiples(16)),
        "Fourier magnitudes along circles": classified(polar_fourier),
    },
    tables={"quarters": QUARTERS, "upright": UPRIGHT},
    earlier="ours: EquivariantAutoencoder, default settings (before)",
)
