"""Retrieval in the league.

The score is the mean average precision in %, of photographs of the same object, product, scene or video. It is the mean
of three numbers, for queries that are upright, rotated by a random angle (another one for each seed), and zoomed 1.5
times. The JSON also contains these three. The photograph itself does not count as a result. Photographs are fitted into
squares of 96 pixels, and the network is SqueezeNet 1.1 up to fire9 (5 × 5 cells of 512 features). Rotated and zoomed
queries are made from squares of 192 pixels. Vectors have length 1. Their mean ("centred") or their whitened principal
components are learned from the database.

"n copies in the database" means that n views of each photograph are stored, and that the similarity of the query, of
which only one view is computed, to the most similar of them counts.

The network sees each photograph at 36 rotations and 10 scales only once. The cache contains the features of these
views, pooled over cells, from which every method computes its vectors. Seconds are therefore those of the network, for
as many views of 100 queries as a method needs, and those of the method itself.
"""

import csv
import io
import math
import time
import zipfile

import numpy as np
import torch
from league_sets import Family, of_sizes
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from sklinvariant import NestedInvariancePooler
from sklinvariant.images import scale_pixels
from sklinvariant.metrics import average_precision
from sklinvariant.transforms import Compose, Rotation, Scale, warp

SIZE = 96
SEEDS = 5  # of the stored queries
WHITENED = 8  # components; the best of 4, 8, 16 and 32 on the development sets
KINDS = ("upright", "rotated", "zoomed")
ORDERS = (1, 2, 3, np.inf)  # of the stored moments over the cells of a view
ROTATIONS, SCALES = Rotation(), Scale()  # the orbits of the paper
GRID = len(ROTATIONS.orbit()), len(SCALES.orbit())
DEFAULT = 3, 9  # steps between the rotations and between the scales of the default settings
ROTATED = 1, GRID[1]  # all rotations at the full size
AXES = {"rotation": 1, "scale": 2}  # of the stored moments


def groceries(data, odd):
    """Six photographs of every second of 24 products."""
    products = dict(file="grocery_packages_176.zip", column="fine", each=6)
    return photographs(data, **products, wanted=lambda row: row["split"] != "iconic", which=range(odd, 24, 2))


def eth(data, first):
    """Five views of the first four objects of four categories: apple, car, cow, cup; or dog, horse, pear, tomato."""
    wanted = lambda row: (row["category"] < "d") == first  # noqa: E731
    which = [10 * category + i for category in range(4) for i in range(4)]
    return photographs(data, file="eth80_128.zip", column="object", each=5, wanted=wanted, which=which)


def scenes(data, affine):
    """The sequences of Oxford with an affine relation, or the groups of other sources."""
    wanted = lambda row: (row["source"] == "oxford_affine") == affine  # noqa: E731
    return photographs(data, file="multiview_groups.zip", column="group", each=6, wanted=wanted)


def videos(data, odd):
    """Five frames of every second video."""
    frames = dict(file="davis16_256.zip", column="sequence", each=5, path="frame")
    return photographs(data, **frames, which=range(odd, 20, 2))


def photographs(data, file, column, each, wanted=lambda row: True, which=None, path="path"):
    """Photographs (n, 192, 192, 3) and labels: up to ``each`` of the labels whose numbers are in ``which``."""
    import cv2

    from sklinvariant.images._pixels import fit_into

    with zipfile.ZipFile(data / file) as archive:
        rows = csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8"))
        paths, labels = np.array([(row[path], row[column]) for row in rows if wanted(row)]).T
        known = np.unique(labels)
        paths, labels = of_sizes(paths, labels, dict.fromkeys(known if which is None else known[which], each))
        decoded = (cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR) for name in paths)
        return np.stack([fit_into(np.ascontiguousarray(image[..., ::-1]), 2 * SIZE) for image in decoded]), labels


def coil(data, odd):
    """Five poses of every second object."""
    import cv2

    with np.load(data / "coil20_32.npz") as file:
        images, labels = file["x"].reshape(-1, 32, 32), file["y"].astype(int)
    labels = np.unique(labels, return_inverse=True)[1]
    images, labels = of_sizes(images, labels, dict.fromkeys(range(odd, 20, 2), 5))
    large = [cv2.resize(np.uint8(image), (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC) for image in images]
    return np.repeat(np.stack(large)[..., None], 3, axis=-1), labels


def seen(read, **options):
    """A set of the league: the stored features of the photographs that ``read`` returns."""

    def loaded(data, cache):
        words = [read.__name__, *map(str, options.values()), f"{SEEDS} seeds"]
        path = None if cache is None else cache / f"retrieval-{'-'.join(words)}.npz"
        if path is None or not path.exists():
            stored = views_of(*read(data, **options), data / "weights" / "squeezenet_v1.1_imagenet_notop.npz")
            if path is None:
                return stored
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **stored)
        with np.load(path) as file:
            return {name: file[name] for name in file.files}

    loaded.needs_files = True
    return loaded


def views_of(images, labels, weights):
    """The stored features of a set: photographs as they are (seed -1), and queries of each seed.

    For each seed, one photograph of each label is turned and zoomed.
    """
    found = {"image": [], "kind": [], "seed": []}
    pictures = []

    def add(picture, image, kind, seed):
        pictures.append(torch.nn.functional.avg_pool2d(scale_pixels(torch.tensor(picture)).permute(2, 0, 1), 2))
        for name, value in (("image", image), ("kind", kind), ("seed", seed)):
            found[name].append(value)

    for i, image in enumerate(images):
        add(image, i, 0, -1)
    for seed in range(SEEDS):
        rng = np.random.RandomState(seed)
        for label in np.unique(labels):
            same = np.flatnonzero(labels == label)
            i = same[seed % len(same)]
            turn, zoom = Rotation().matrix([[rng.uniform(15, 345)]]), Scale().matrix([[1 / 1.5]])
            add(warp(images[i : i + 1], turn, fill="reflect")[0], i, 1, seed)
            add(warp(images[i : i + 1], zoom)[0], i, 2, seed)
    started = time.perf_counter()
    parts = [pooled(picture, see_with(weights)) for picture in tqdm(pictures, desc="photographs")]
    seconds = (time.perf_counter() - started) / len(pictures) / np.prod(GRID)
    stored = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    return {**found, **stored, "labels": np.unique(labels, return_inverse=True)[1], "seconds": seconds}


_networks = {}


def see_with(weights):
    """The network as a function from images (n, h, w, c) to feature maps (n, rows, columns, d)."""
    from retrieval_quality import backbone

    if weights not in _networks:
        _networks[weights] = backbone(weights).fit(np.zeros((1, SIZE, SIZE, 3), np.float32)).feature_maps("cpu")
    return _networks[weights]


def pooled(picture, see):
    """Features of all views of a picture (c, h, w), pooled over their cells.

    "cells" (rotations, scales, orders, d) are moments of the cells of a view, "paper" (rotations, d) moments of order 2
    of the cells of the mean over the scales, and "regions" (rotations, d) R-MAC of the views at full size.
    """
    view = Compose([SCALES, ROTATIONS], fill="mean")
    params = Compose([ROTATIONS, SCALES]).orbit().flip(1)  # rotations vary slowest
    blocks = [view._apply(picture.expand(len(rows), -1, -1, -1), rows) for rows in params.split(30)]
    with torch.no_grad():
        maps = torch.cat([see(views.permute(0, 2, 3, 1)) for views in blocks]).unflatten(0, GRID)
    cells = maps.flatten(2, 3)
    moments = [cells.mean(2), *((cells**n).mean(2) ** (1 / n) for n in ORDERS[1:-1]), cells.amax(2)]
    found = {
        "cells": torch.stack(moments, 2),
        "paper": (cells.mean(1) ** 2).mean(1).sqrt(),
        "regions": regions(maps[:, -1]),
    }
    return {name: values.half().numpy() for name, values in found.items()}


def regions(maps):
    """R-MAC of feature maps (n, rows, columns, d)."""
    from sklinvariant.pooling._nested._nested_moments import nested_moments

    return nested_moments([("translation", (np.inf,), True), ("region", (1,), False)], lambda: maps, {}, 3)


def nested(first, *stages, every=(1, 1), **settings):
    """A sequence of stages that begins with a moment of order ``first`` over the cells, and its number of views.

    ``every`` are the steps between the rotations and between the scales that are used, and ``settings`` those of the
    pooler, which is fitted to the database.
    """
    orders = dict(stages)
    rotations = slice(None, None, every[0]) if "rotation" in orders else slice(1)
    scales = slice(None, None, every[1]) if "scale" in orders else slice(-1, None)
    n_views = len(range(GRID[0])[rotations]) * len(range(GRID[1])[scales])
    groups = [*orders, *(group for group in AXES if group not in orders)]  # the latter have one view
    pooler = NestedInvariancePooler(stages=[(group, orders.get(group, 1)) for group in groups], **settings)

    def features(stored):
        orbits = stored["cells"][:, rotations, scales, ORDERS.index(first)].astype(np.float32)
        orbits = orbits.transpose(0, *(AXES[group] for group in groups), 3)
        return pooler.fit(orbits[stored["seed"] < 0]).transform(orbits)

    return features, n_views


def paper(stored):
    return NestedInvariancePooler(stages=[("rotation", np.inf)]).fit_transform(stored["paper"].astype(np.float32))


def rmac(stored):
    return stored["regions"][:, 0].astype(np.float32)


def copies(order, every=(1, 1)):
    """The views of each photograph that are stored in the database: moments over their cells (n, r, d).

    ``every`` are the steps between the rotations and between the scales, from the full size downwards.
    """

    def views(stored):
        chosen = stored["cells"][:, :: every[0], :: -every[1], ORDERS.index(order)]
        return chosen.reshape(len(chosen), -1, chosen.shape[-1])

    return views


def normalized(x):
    x = x.astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cosines(features, change=None, copies=None, score=np.max):
    """Similarities ``(stored, chosen) -> (n_queries, n_database)`` of features.

    The database has one vector of each photograph or, if they are given, ``copies`` (n, r, d), whose similarities are
    combined by ``score``. ``change`` is a transformer that is fitted to the vectors of the database.
    """

    def compare(stored, chosen):
        queries = normalized(features(stored)[chosen])
        database = normalized((copies or features)(stored)[stored["seed"] < 0])
        rows = database.reshape(-1, database.shape[-1])
        if change is not None:
            fitted = clone(change).fit(rows)
            queries, rows = normalized(fitted.transform(queries)), normalized(fitted.transform(rows))
        return score((queries @ rows.T).reshape(len(queries), len(database), -1), axis=2)

    return compare


def retrieval(compare, n_views):
    """A method that needs ``n_views`` views of a query, and that compares it with the database by ``compare``."""

    def method(stored, seed):
        started = time.perf_counter()
        wanted = [(stored["kind"] == 0), *((stored["kind"] == k) & (stored["seed"] == seed) for k in (1, 2))]
        chosen = np.concatenate([np.flatnonzero(rows) for rows in wanted])
        similar = compare(stored, chosen)
        kinds, images, labels = stored["kind"][chosen], stored["image"][chosen], stored["labels"]
        order = np.argsort(-similar, axis=1, kind="stable")
        found = average_precision(order, labels[images][:, None] == labels, junk=images[:, None])
        scores = {f"mAP, {kind}": 100 * found[kinds == k].mean() for k, kind in enumerate(KINDS)}
        seconds = time.perf_counter() - started + 100 * n_views * float(stored["seconds"])
        return {"mAP": np.mean(list(scores.values())), **scores, "seconds": seconds}

    return method


def named(name, features, n_views, **database):
    """A method with features as they are, centred, and whitened."""
    changes = {
        "": None,
        ", centred": StandardScaler(with_std=False),
        ", whitened": PCA(WHITENED, whiten=True, svd_solver="full"),
    }
    return {
        name + suffix: retrieval(cosines(features, change, **database), n_views) for suffix, change in changes.items()
    }


ALL = math.prod(GRID)
BEST = np.inf, ("scale", 2), ("rotation", 1)
RETRIEVAL = Family(
    "retrieval",
    "mAP, %",
    development={
        "groceries, 12 products": seen(groceries, odd=0),
        "affine scenes": seen(scenes, affine=True),
        "ETH-80, apple car cow cup": seen(eth, first=True),
        "COIL-20, 10 objects": seen(coil, odd=0),
        "10 videos": seen(videos, odd=0),
    },
    evaluation={
        "groceries, 12 other products": seen(groceries, odd=1),
        "scenes of other sources": seen(scenes, affine=False),
        "ETH-80, dog horse pear tomato": seen(eth, first=False),
        "COIL-20, 10 other objects": seen(coil, odd=1),
        "10 other videos": seen(videos, odd=1),
    },
    methods={
        **named("ours: default settings (M_T-S_S-A_R, 24 views)", *nested(*BEST, every=DEFAULT)),
        **named(
            'ours, feature_weights="invariance" (24 views)', *nested(*BEST, every=DEFAULT, feature_weights="invariance")
        ),
        **named("ours, earlier default (A_S-S_T-M_R, the paper's, 360 views)", paper, ALL),
        **named("ours, M_T-S_S-A_R, 360 views", *nested(*BEST)),
        **named("ours, A_S-A_T-A_R, 360 views", *nested(1, ("scale", 1), ("rotation", 1))),
        **named("ours, A_T-A_R, 36 views", *nested(1, ("rotation", 1))),
        **named("mean (SPoC)", *nested(1)),
        **named("maximum (MAC)", *nested(np.inf)),
        **named("GeM of order 3", *nested(3)),
        **named("R-MAC", rmac, 1),
        **named("mean, 36 rotated copies in the database", *nested(1), copies=copies(1, ROTATED)),
        **named("maximum, 36 rotated copies in the database", *nested(np.inf), copies=copies(np.inf, ROTATED)),
        **named("mean, 24 rotated and zoomed copies in the database", *nested(1), copies=copies(1, DEFAULT)),
        **named(
            "maximum, 24 rotated and zoomed copies in the database", *nested(np.inf), copies=copies(np.inf, DEFAULT)
        ),
        **named("maximum, 360 rotated and zoomed copies in the database", *nested(np.inf), copies=copies(np.inf)),
        **named(
            "maximum, mean similarity to 24 rotated and zoomed copies in the database",
            *nested(np.inf),
            copies=copies(np.inf, DEFAULT),
            score=np.mean,
        ),
    },
    earlier="ours, earlier default (A_S-S_T-M_R, the paper's, 360 views)",
)
