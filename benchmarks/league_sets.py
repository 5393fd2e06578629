"""The sets of the league: each function loads one from scikit-learn or from the data folder of `league.py`."""

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from sklearn.preprocessing import scale


@dataclass
class Family:
    """``sets`` are functions of the folders of data and cache; ``methods`` are functions ``(set, seed) -> scores``.

    The first of the scores is compared. The methods whose names begin with "ours" are ours; the first is the default,
    and ``earlier`` is the name of the one that was the default before. ``tables`` has further tables by name: another
    score to compare, or a function ``results -> (columns, rows)``.
    """

    name: str
    unit: str
    development: dict[str, Callable]
    evaluation: dict[str, Callable]
    methods: dict[str, Callable]
    tables: dict[str, str | Callable] = field(default_factory=dict)
    earlier: str | None = None


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
                arrays = [file[name] for name in file.files]
        else:
            arrays = read(data, **options)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, **dict(zip(("X", "y", "groups", "frames"), arrays, strict=False)))
        return arrays if sizes is None else of_sizes(*arrays, sizes)

    loaded.needs_files = True
    return loaded


def grey(data, name, split="train"):
    """Pixels (n, 784) of the first 10,000 training or test images."""
    with np.load(data / f"{name}.npz") as file:
        X, y = file[f"x_{split}"][:10_000], file[f"y_{split}"][:10_000].ravel().astype(int)
    return (X.reshape(len(X), -1) / 255).astype(np.float32), y


def coil(data):
    with np.load(data / "coil20_32.npz") as file:
        return (file["x"].reshape(len(file["x"]), -1) / 255).astype(np.float32), file["y"].astype(int)


def cifar(data, start=0):
    """Features of 5,000 test images."""
    images, y = cifar_images(data, start=start)
    return features(data, images, 96), y


def cifar_images(data, n=5000, start=0):
    """Test images (n, 32, 32, 3), which are stored as differences."""
    rows = slice(start, start + n)
    with np.load(data / "cifar10_residual.npz") as file:
        planes = np.cumsum(np.cumsum(file["q_test"][:, rows], axis=-2, dtype=np.uint8), axis=-1, dtype=np.uint8)
        y = file["y_test"].ravel()[rows].astype(int)
    return np.stack([planes[1] + planes[0], planes[0], planes[2] + planes[0]], -1), y


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
