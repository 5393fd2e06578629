"""Images in files, folders, columns and objects of Pillow give what arrays of their pixels give, in each estimator."""

import re
from collections import namedtuple

import numpy as np
import pytest
import torch
from examples import TAKE_IMAGES, answer_to_images, image_example
from sklearn.base import clone
from tolerance import assert_close

from sklinvariant import BackboneFeatures, NestedInvariancePooler
from sklinvariant.base import files_in
from sklinvariant.feature_extraction import DensePatches
from sklinvariant.images._image_files import ImageFiles

cv2 = pytest.importorskip("cv2", reason="opencv, which reads the files, is not installed")
N = 24
RANDOM = np.random.RandomState(0).randint(0, 256, (N, 12, 12, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for i, image in enumerate(RANDOM):
        (tmp_path / f"class{i % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"class{i % 2}" / f"{i:02}.png"), image[..., ::-1])
    return tmp_path


@pytest.fixture
def paths(folder):
    return sorted(folder.rglob("*.png"), key=lambda path: path.name)


def _pandas(items):
    return pytest.importorskip("pandas").Series(items)


def _polars(items):
    return pytest.importorskip("polars").Series(items)


def _pyarrow(items):
    return pytest.importorskip("pyarrow").array(items)


def _folder_object(paths):
    return namedtuple("ImageFolder", "samples")([(str(path), 0) for path in paths])


SOURCES = {
    "paths": lambda paths: paths,
    "names in an array": lambda paths: np.array([str(path) for path in paths]),
    "names in a tuple": lambda paths: tuple(map(str, paths)),
    "folder of torchvision": _folder_object,
    "bytes": lambda paths: [path.read_bytes() for path in paths],
    "dicts": lambda paths: [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
    "names in pandas": lambda paths: _pandas([str(path) for path in paths]),
    "names in a table of pandas": lambda paths: _pandas([str(path) for path in paths]).to_frame(),
    "bytes in pandas": lambda paths: _pandas([path.read_bytes() for path in paths]),
    "names in polars": lambda paths: _polars([str(path) for path in paths]),
    "names in a table of polars": lambda paths: _polars([str(path) for path in paths]).to_frame(),
    "bytes in polars": lambda paths: _polars([path.read_bytes() for path in paths]),
    "names in pyarrow": lambda paths: _pyarrow([str(path) for path in paths]),
    "bytes in pyarrow": lambda paths: _pyarrow([path.read_bytes() for path in paths]),
    "structs in pyarrow": lambda paths: _pyarrow([{"bytes": path.read_bytes(), "path": ""} for path in paths]),
    "a table of pyarrow": lambda paths: pytest.importorskip("pyarrow").table({"image": [str(path) for path in paths]}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_all_sources_are_read(source, paths):
    files = ImageFiles(files_in(SOURCES[source](paths)))
    np.testing.assert_array_equal(np.stack([image.numpy() for image in files]), RANDOM)


def test_a_folder_is_its_files_in_order(folder):
    names = ImageFiles(files_in(folder)).sources
    assert names == sorted(names) == ImageFiles([str(folder)]).sources
    assert len(names) == N
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="empty' contains no images"):
        DensePatches(2).fit(folder / "empty")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK"])
def test_modes_of_pillow(mode):
    Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image = Image.fromarray(RANDOM[0]).convert(mode)
    expected = np.asarray(image if mode == "L" else image.convert("RGB"))
    bags = DensePatches(2).fit_transform([image])
    assert_close(bags.values, DensePatches(2).fit_transform(expected[None]).values)


@pytest.mark.parametrize("X", [RANDOM, list(RANDOM), torch.as_tensor(RANDOM), [["a", "b"]], [1, 2], "a.png", None, []])
def test_others_are_no_files(X):
    assert files_in(X) is None


def _example(name):
    estimator, _ = image_example(name)
    network = torch.nn.Conv2d(3, 2, 3)
    if name.startswith("Backbone"):
        estimator.set_params(module=network)
    if name == "NestedInvariancePooler":
        estimator.set_params(backbone=network, image_size=12)
    return estimator


def _same(answer, expected):
    values = [np.concatenate(list(x)) if isinstance(x, list) else getattr(x, "values", x) for x in (answer, expected)]
    assert_close(np.asarray(values[0]), np.asarray(values[1]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", TAKE_IMAGES)
def test_each_estimator_takes_paths_bytes_folders_and_pillow(name, paths):
    Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    estimator = _example(name)
    fitted = clone(estimator).fit(RANDOM)
    expected = answer_to_images(fitted, RANDOM[:5])
    sources = [paths, [path.read_bytes() for path in paths], _folder_object(paths), [Image.open(p) for p in paths]]
    for X in sources:
        again = clone(estimator).fit(X)
        _same(answer_to_images(again, RANDOM[:5]), expected)
    _same(answer_to_images(fitted, paths[:5]), expected)


def test_files_are_read_in_batches(paths, monkeypatch):
    """The images of a backbone are not in memory at once."""
    most, alive = [0], []
    read = ImageFiles.__getitem__

    def counting(self, index):
        images = read(self, index)
        alive.append(len(images) if isinstance(images, list) else 1)
        most[0] = max(most[0], alive[-1])
        return images

    monkeypatch.setattr(ImageFiles, "__getitem__", counting)
    BackboneFeatures(torch.nn.Conv2d(3, 2, 3), batch_size=5).fit_transform(paths)
    assert most[0] == 5


def test_files_of_different_sizes(tmp_path):
    images = [RANDOM[0], RANDOM[1, :7], RANDOM[2, :, :9]]
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for name, image in zip(names, images, strict=True):
        cv2.imwrite(name, image[..., ::-1])
    for estimator in (
        BackboneFeatures(torch.nn.Conv2d(3, 2, 3), image_size=8),
        NestedInvariancePooler(torch.nn.Conv2d(3, 2, 3), stages=[("translation", 1)], image_size=8),
    ):
        assert_close(estimator.fit_transform(names), estimator.fit_transform(images))


def test_unreadable_files_are_named(paths):
    paths[3].write_bytes(b"nothing")
    with pytest.raises(ValueError, match=rf"image 3: {re.escape(str(paths[3]))} cannot be read as an image"):
        DensePatches(2).fit(paths)
    with pytest.raises(ValueError, match="image 1: a file of 7 bytes cannot be read as an image"):
        DensePatches(2).fit([paths[0].read_bytes(), b"nothing"])
