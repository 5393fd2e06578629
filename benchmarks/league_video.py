"""Pooling learned from video in the league.

The features are the maps of filters learned by k-means, or of filters of SqueezeNet 1.1. A pooling is fitted to the
maps of pairs of patches of consecutive video frames, without labels. Then maps of photographs of another source are
pooled, and a ridge classifier is trained on 10, 50 or at most 250 images of each class. Its penalty and the scaling
are chosen by leaving out one of these at a time. The score is the accuracy in % on the other images, averaged over the
three numbers of images; the second table shows each number. Each seed draws other training and test images. The
training images of ETH-80 are views of other objects than the test images.

Methods give 4 features for each filter, as many as the 2 x 2 grid, unless their name says otherwise. Seconds are those
of fitting the pooling and of transforming the photographs, without the classifier.
"""

import functools
import tempfile
import time
import zipfile
from dataclasses import dataclass

import numpy as np
from league_aggregation import cells_of, photographs, wrapped
from league_sets import Family, cifar_images, from_files
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import GroupShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklinvariant import AutoPooling, ConvolutionalFeatures, SlowFeatures
from sklinvariant.datasets import frame_pairs
from sklinvariant.pooling import SpatialPooling

N_PAIRS = 5000
N_FILTERS = 16
SIZE = 28  # of patches and images
LABELS = (10, 50, 250)  # of each class
MOVING = {"image_size": 144, "min_change": 0.01, "max_change": 0.3, "min_contrast": 0.03, "random_state": 0}


@dataclass
class VideoAndPhotographs:
    """Maps of pairs of frames (n, 2, h, w, k) and of photographs X (n, h, w, k), classes, and groups not divided."""

    frames: np.ndarray
    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray

    @functools.cached_property
    def n_features(self):
        return 4 * self.X.shape[-1]

    def split(self, seed):
        """Rows of the training images of each number of labels, and of the test images."""
        train, test = next(GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(self.X, self.y, self.groups))
        train = np.random.RandomState(seed).permutation(train)
        classes = [train[self.y[train] == label] for label in np.unique(self.y)]
        return {n: np.concatenate([rows[:n] for rows in classes]) for n in LABELS}, test


def video_patches(data, video, size, grayscale):
    """Pairs (N_PAIRS, 2, size, size[, 3]) of patches of consecutive frames with motion."""
    options = {"n_pairs": N_PAIRS, "patch_size": size, "grayscale": grayscale, **MOVING}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(data / f"{video}.zip") as archive:
        archive.extractall(folder, [name for name in archive.namelist() if not name.startswith(("masks", "labels"))])
        return frame_pairs(f"{folder}/frames" if video == "davis16_256" else folder, **options)[0]


def filter_maps(data, video, images):
    """Maps (n, 6, 6, N_FILTERS), in half precision, of images and of video patches, on which k-means finds filters."""
    patches = video_patches(data, video, SIZE, images.ndim == 3)
    patches = patches.reshape(-1, *patches.shape[2:])
    filters = ConvolutionalFeatures(
        MiniBatchKMeans(N_FILTERS, n_init=1), patch_size=5, pool=4, n_patches=50_000, random_state=0
    ).fit(patches)
    maps, frames = (filters.transform(part).astype(np.float16) for part in (images, patches))
    return maps, frames.reshape(N_PAIRS, 2, *frames.shape[1:])


def cifar_filters(data, video, classes):
    """The middle of images of CIFAR-10."""
    images, y = cifar_of(data, classes)
    maps, frames = filter_maps(data, video, images[:, 2:30, 2:30])
    return maps, y, np.arange(len(y)), frames


def cifar_of(data, classes):
    images, y = cifar_images(data, 10_000)
    chosen = np.isin(y, [int(label) for label in classes])
    return images[chosen], y[chosen]


def grey_filters(data, video, name, classes):
    """1,000 images of each class."""
    with np.load(data / f"{name}.npz") as file:
        images, y = file["x_train"][:12_000], file["y_train"][:12_000].ravel().astype(int)
    chosen = np.concatenate([np.flatnonzero(y == int(label))[:1000] for label in classes])
    maps, frames = filter_maps(data, video, images[chosen])
    return maps, y[chosen], np.arange(len(chosen)), frames


def eth_filters(data, video, categories):
    """All views of the objects of these categories."""
    images, rows = photographs(data / "eth80_128.zip")
    chosen = [i for i, row in enumerate(rows) if row["category"] in categories.split()]
    small = images[chosen][:, 8:-8, 8:-8].reshape(-1, SIZE, 4, SIZE, 4, 3).mean((2, 4)).round().astype(np.uint8)
    maps, frames = filter_maps(data, video, small)
    return maps, np.array([rows[i]["category"] for i in chosen]), np.array([rows[i]["object"] for i in chosen]), frames


def cifar_squeezenet(data, video, classes):
    """The filters of SqueezeNet whose maps (7, 7) of the video have the largest variance."""
    images, y = cifar_of(data, classes)
    patches = video_patches(data, video, 32, grayscale=False)
    maps, frames = cells_of(data, images), cells_of(data, patches.reshape(-1, 32, 32, 3))
    chosen = np.argsort(frames.var((0, 1), dtype=np.float64))[-N_FILTERS:]
    maps, frames = maps[..., chosen], frames[..., chosen]
    return maps.reshape(len(y), 7, 7, -1), y, np.arange(len(y)), frames.reshape(N_PAIRS, 2, 7, 7, -1)


def video(read, **options):
    def prepared(X, y, groups, frames):
        return VideoAndPhotographs(frames.astype(np.float32), X.astype(np.float32), y, groups)

    return wrapped(from_files(read, **options), prepared)


def accuracies(Z, data, seed):
    """The accuracy for each number of labels, after their mean."""
    training, test = data.split(seed)
    scores = {f"{n} per class": accuracy(Z[rows], data.y[rows], Z[test], data.y[test]) for n, rows in training.items()}
    return {"mean": float(np.mean(list(scores.values()))), **scores}


def accuracy(Z, y, Z_test, y_test):
    """Accuracy in % of a ridge classifier, with the penalty and the scaling chosen by leaving one image out."""
    classifiers = []
    for scaler in (StandardScaler(), StandardScaler(with_std=False)):
        scaler.fit(Z)
        unit = scaler.transform(Z).std()
        classifier = RidgeClassifierCV(np.logspace(-1, 6, 15)).fit(scaler.transform(Z) / unit, y)
        classifiers.append((classifier.best_score_, 100 * classifier.score(scaler.transform(Z_test) / unit, y_test)))
    return max(classifiers)[1]


def method(pool):
    """A method that classifies the features that ``pool(data, seed)`` gives for the photographs."""

    def scored(data, seed):
        started = time.perf_counter()
        Z = pool(data, seed)
        seconds = time.perf_counter() - started
        return accuracies(Z, data, seed) | {"features": Z.shape[1], "seconds": seconds}

    return scored


def learned(make):
    """A pooling ``make(n_features, seed)`` that is fitted to pairs of frames."""

    @method
    def pool(data, seed):
        pooling = make(data.n_features, seed).fit(data.frames.reshape(len(data.frames), 2, -1))
        return pooling.transform(data.X.reshape(len(data.X), -1))

    return pool


def grids(*sizes):
    return method(lambda data, seed: SpatialPooling([(size, size) for size in sizes]).fit_transform(data.X))


@method
def pca(data, seed):
    model = PCA(data.n_features, random_state=seed).fit(data.frames.reshape(2 * len(data.frames), -1))
    return model.transform(data.X.reshape(len(data.X), -1))


@method
def random_groups(data, seed):
    X = data.X.reshape(len(data.X), -1)
    groups = np.random.RandomState(seed).permutation(X.shape[1]) % data.n_features
    return X @ np.eye(data.n_features, dtype=X.dtype)[groups]


@method
def by_labels(data, seed):
    """AutoPooling with λ chosen by cross-validation on the training images. The moments of frames are computed once."""
    moments = AutoPooling(1, max_iter=1, tol=1.0, random_state=seed).fit(data.frames.reshape(len(data.frames), 2, -1))
    rows = data.split(seed)[0][max(LABELS)]
    found = []
    for invariance in (1, 2, 4, 8):
        pooling = AutoPooling(data.n_features, invariance=invariance, tol=1e-2, random_state=seed)
        Z = pooling.fit_moments([moments]).transform(data.X.reshape(len(data.X), -1))
        model = make_pipeline(StandardScaler(), RidgeClassifier(100))
        found.append((cross_val_score(model, Z[rows], data.y[rows]).mean(), invariance, Z))
    return max(found)[2]


def auto_pooling(share=1.0, **settings):
    return learned(lambda n, seed: AutoPooling(round(share * n), random_state=seed, **settings))


def slow_features(**settings):
    return learned(lambda n, seed: SlowFeatures(n, **settings))


def by_number_of_labels(results):
    """Columns and rows of the table of the accuracy for each number of labels, averaged over the sets and the seeds."""
    rows = []
    for name, sets in results.items():
        runs = [run for runs in sets.values() for run in runs]
        rows.append([name, *(f"{np.mean([run[f'{n} per class'] for run in runs]):.1f}" for n in LABELS)])
    return ["mean over the sets", *(f"{n} per class" for n in LABELS)], rows


EVEN, ODD = "02468", "13579"
VIDEO = Family(
    "video",
    "accuracy, %",
    development={
        "CIFAR-10 0 2 4 6 8": video(cifar_filters, video="davis16_256", classes=EVEN),
        "MNIST 0 2 4 6 8": video(grey_filters, video="davis16_256", name="mnist", classes=EVEN),
        "ETH-80 apple car cow cup": video(eth_filters, video="videos", categories="apple car cow cup"),
        "CIFAR-10 0 2 4 6 8, SqueezeNet": video(cifar_squeezenet, video="davis16_256", classes=EVEN),
    },
    evaluation={
        "CIFAR-10 1 3 5 7 9": video(cifar_filters, video="videos", classes=ODD),
        "Fashion-MNIST 1 3 5 7 9": video(grey_filters, video="videos", name="fashion_mnist", classes=ODD),
        "ETH-80 dog horse pear tomato": video(eth_filters, video="davis16_256", categories="dog horse pear tomato"),
        "CIFAR-10 1 3 5 7 9, SqueezeNet": video(cifar_squeezenet, video="davis16_256", classes=ODD),
    },
    methods={
        "ours: AutoPooling, default settings": auto_pooling(),
        "ours: AutoPooling, tol = 0.01, λ by cross-validation": by_labels,
        "ours: AutoPooling, standardize=False (the paper's, earlier default)": auto_pooling(standardize=False),
        "ours: AutoPooling, 9/4 of the features": auto_pooling(9 / 4, tol=1e-2),
        "ours: SlowFeatures, default settings": slow_features(),
        "ours: SlowFeatures, tol = 0.01": slow_features(tol=1e-2),
        "grid 1 x 1 (a quarter of the features)": grids(1),
        "grid 2 x 2": grids(2),
        "grid 3 x 3 (9/4 of the features)": grids(3),
        "PCA": pca,
        "random groups": random_groups,
    },
    tables={"labels": by_number_of_labels},
    earlier="ours: AutoPooling, standardize=False (the paper's, earlier default)",
)
