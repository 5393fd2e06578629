"""Fetched data sets, without a network: from a cache that holds small files in the real formats."""

import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from sklinvariant import datasets
from sklinvariant.datasets import _fetched

pytest.importorskip("pooch")


def _md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
            rows = np.full((2, 3072), i, np.uint8)
            rows[:, :1024] = 200  # the red plane
            data = pickle.dumps({b"data": rows, b"labels": [i, 9]})
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    monkeypatch.setattr(_fetched, "_CIFAR_MD5", _md5(path))
    monkeypatch.setenv("SKLINVARIANT_DATA", str(tmp_path))
    return path


def test_cifar10(cifar):
    data = datasets.fetch_cifar10()
    assert data.images.shape == (10, 32, 32, 3)
    assert data.images[2, 5, 7].tolist() == [200, 1, 1]
    assert data.target.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert data.test_images.shape == (2, 32, 32, 3)
    assert len(data.target_names) == 10
    images, target = datasets.fetch_cifar10(cifar.parent, return_X_y=True)
    np.testing.assert_array_equal(images, data.images)
    assert len(target) == 10


def test_fashion_mnist(tmp_path, monkeypatch):
    hashes = {}
    for name in _fetched._FASHION:
        path = tmp_path / name
        path.write_bytes(gzip.compress(bytes(16) + bytes(range(2)) * 784 if "images" in name else bytes(8) + b"\3\5"))
        hashes[name] = _md5(path)
    monkeypatch.setattr(_fetched, "_FASHION", hashes)
    data = datasets.fetch_fashion_mnist(tmp_path)
    assert data.images.shape == data.test_images.shape == (2, 28, 28)
    assert data.target.tolist() == [3, 5]
    assert data.images[0, 0, :4].tolist() == [0, 1, 0, 1]


def test_without_a_network_it_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(_fetched, "_CIFAR_URL", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:9/cifar-10-python\.tar\.gz could not be"):
        datasets.fetch_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 4)), "y": [0, 1, 1]}, r"shape \(3, 4\), but \(n, h, w\[, c\]\)"),
        ({"x": np.zeros((3, 4, 4)), "y": np.eye(3)}, r"labels of shape \(3, 3\), but \(n,\)"),
        ({"x": np.zeros((3, 4, 4)), "z": [0]}, r"contains \['x', 'z'\], but one of \['target'"),
        ({"x": np.array([None, "a"]), "y": [0, 1]}, "numeric arrays"),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        datasets.load_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("damage", ["array", "truncated", "empty"])
def test_npz_that_is_none(tmp_path, damage):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.arange(4000).reshape(10, 20, 20), target=np.arange(10))
    if damage == "array":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path = path.with_suffix(".npy")
    else:
        path.write_bytes(path.read_bytes()[: 4000 if damage == "truncated" else 0])
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        datasets.load_npz(path)
    with pytest.raises(FileNotFoundError):
        datasets.load_npz(tmp_path / "nowhere.npz")


def test_npz_names_and_columns(tmp_path):
    np.savez(tmp_path / "a.npz", X_train=np.zeros((3, 4, 4)), LABELS=[[0], [1], [1]])
    images, target = datasets.load_npz(tmp_path / "a.npz", return_X_y=True)
    assert images.shape == (3, 4, 4)
    assert target.tolist() == [0, 1, 1]


def test_folder_of_images_of_any_size(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        image = np.zeros((5 + i, 7, 3), np.uint8)
        image[..., 2] = 255  # red, in OpenCV's order
        cv2.imwrite(str(tmp_path / name / "1.png"), image)
    images, target = datasets.load_image_folder(tmp_path, None, return_X_y=True)
    assert [image.shape for image in images] == [(5, 7, 3), (6, 7, 3)]
    assert images[0][0, 0].tolist() == [255, 0, 0]
    assert target.tolist() == [0, 1]
    assert datasets.load_image_folder(tmp_path, 4).images.shape == (2, 4, 4, 3)


def test_concentric_bags_lie_where_their_class_says():
    bags, y = datasets.make_concentric(20, noise=0.0, random_state=0)
    radius = np.linalg.norm(np.asarray(bags), axis=2)
    assert radius[y == 0].max() <= 1 <= radius[y == 1].min()
    assert radius.max() <= 2
    bags, y = datasets.make_checkers(20, noise=0.0, random_state=0)
    signs = np.sign(np.asarray(bags).prod(axis=2))
    assert (signs[y == 0] == 1).all()
    assert (signs[y == 1] == -1).all()
