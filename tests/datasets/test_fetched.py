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
