"""The development sets and the evaluation sets of each league have no row in common."""

import importlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks are not part of the package")
FAMILIES = ("aggregation", "clustering", "equivariance", "few_labels", "hashing", "retrieval", "video")


def family(name):
    return getattr(importlib.import_module(f"league_{name}"), name.upper())


def rows(sets, data=None):
    """The rows of all sets, as bytes."""
    found = set()
    for load in sets.values():
        loaded = load(data, None)
        X = loaded[0] if isinstance(loaded, tuple) else loaded.X
        found |= {row.tobytes() for row in np.asarray(X, dtype=np.float32)}
    return found


def bundled(sets):
    return {name: load for name, load in sets.items() if not hasattr(load, "needs_files")}


@pytest.mark.parametrize("name", ["aggregation", "clustering", "few_labels", "hashing"])
def test_bundled_sets(monkeypatch, name):
    monkeypatch.syspath_prepend(str(FOLDER))
    league = family(name)
    assert bundled(league.development)
    assert not rows(bundled(league.development)) & rows(bundled(league.evaluation))


@pytest.mark.parametrize("name", FAMILIES)
def test_sets_with_files(monkeypatch, files, name):
    """Images of noise instead of the real ones, and their pixels instead of features."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for module in ("sets", "aggregation", "equivariance", "retrieval", "video"):
        module = importlib.import_module(f"league_{module}")
        for function, stand_in in STAND_INS.items():
            if hasattr(module, function):
                monkeypatch.setattr(module, function, stand_in)
    league = family(name)
    development, evaluation = rows(league.development, files), rows(league.evaluation, files)
    assert min(len(development), len(evaluation)) > 50
    assert not development & evaluation


class Pixels:
    """Stored photographs, as `views_of` returns features of photographs."""

    def __init__(self, images, labels, weights):
        self.X = images


STAND_INS = {
    "features": lambda data, images, size: images.reshape(len(images), -1),
    "cells_of": lambda data, images: images.reshape(len(images), -1)[:, :980].reshape(-1, 49, 20),
    "video_patches": lambda data, video, size, grayscale: np.zeros((5000, 2, 32, 32, 3), np.uint8),
    "filter_maps": lambda data, video, images: (images, np.zeros(1)),
    "views_of": Pixels,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with small files of the names and the forms that the leagues read, but for those of segmentation."""
    pytest.importorskip("cv2")
    folder, rng = tmp_path_factory.mktemp("league"), np.random.RandomState(0)
    labels = np.arange(6000) % 10
    for name in ("mnist", "fashion_mnist"):
        pixels = {f"x_{part}": rng.randint(256, size=(400, 28, 28)).astype(np.uint8) for part in ("train", "test")}
        np.savez(folder / f"{name}.npz", **pixels, y_train=labels[:400], y_test=labels[:400])
    planes = rng.randint(256, size=(3, 6000, 32, 32)).astype(np.uint8)
    np.savez(folder / "cifar10_residual.npz", q_test=planes, y_test=labels)
    np.savez(folder / "coil20_32.npz", x=rng.randint(256, size=(100, 32, 32)).astype(np.uint8), y=np.arange(100) % 20)

    categories = ("apple", "car", "cow", "cup", "dog", "horse", "pear", "tomato")
    views = 2 * [(category, f"{category}{i}") for category in categories for i in range(10)]
    archive(folder / "eth80_128.zip", "category,object", views)
    kinds = [(("train", "test")[i % 2], str(i % 5), f"{i % 31:02}") for i in range(155)]
    archive(folder / "grocery_packages_176.zip", "split,coarse,fine", kinds)
    sources = [(("oxford_affine", "other")[i % 2], str(i % 26)) for i in range(130)]
    archive(folder / "multiview_groups.zip", "source,group", sources)
    archive(folder / "davis16_256.zip", "sequence", [(str(i % 20),) for i in range(120)], path="frame")
    return folder


def archive(file, columns, labels, path="path"):
    """An archive of photographs of noise and the table of their labels."""
    import cv2

    rng = np.random.RandomState(len(labels))
    rows = [f"{i}.png,{','.join(names)}" for i, names in enumerate(labels)]
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("labels.csv", "\n".join([f"{path},{columns}", *rows]))
        for i in range(len(labels)):
            image = rng.randint(256, size=(16, 16, 3)).astype(np.uint8)
            opened.writestr(f"{i}.png", cv2.imencode(".png", image)[1].tobytes())
