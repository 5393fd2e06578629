"""Public image data sets, downloaded once and cached."""

import gzip
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklinvariant.base import documented_by, need_extra
from sklinvariant.datasets._images import answer

_FASHION = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_NAMES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR_MD5 = "c58f30108f718f92721af3b95e74349a"
_PARAMETERS = """
data_home : path or None
    The cache. None is ``$SKLINVARIANT_DATA`` or the user's cache folder.
return_X_y : bool
    Return only ``(images, target)`` of the training images.
"""


@documented_by(_PARAMETERS)
def fetch_fashion_mnist(
    data_home: str | os.PathLike | None = None, *, return_X_y: bool = False
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST, 60000 + 10000 images of 28 x 28 pixels; downloaded once and cached.

    Returns
    -------
    Bunch
        ``images`` (60000, 28, 28) uint8, ``target``, ``test_images``, ``test_target``, ``target_names``.
    """
    files = {name: _retrieve(_FASHION_URL + name, name, md5, data_home) for name, md5 in _FASHION.items()}
    arrays = []
    for name, file in files.items():
        with gzip.open(file) as archive:
            data = np.frombuffer(archive.read(), np.uint8)
        arrays.append(data[16:].reshape(-1, 28, 28) if "images" in name else data[8:].astype(np.int64))
    images, target, test_images, test_target = arrays
    return answer(
        return_X_y,
        images=images,
        target=target,
        test_images=test_images,
        test_target=test_target,
        target_names=list(_FASHION_NAMES),
    )


@documented_by(_PARAMETERS)
def fetch_cifar10(
    data_home: str | os.PathLike | None = None, *, return_X_y: bool = False
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """CIFAR-10, 50000 + 10000 colour images of 32 x 32 pixels; downloaded once and cached.

    Returns
    -------
    Bunch
        ``images`` (50000, 32, 32, 3) uint8, ``target``, ``test_images``, ``test_target``, ``target_names``.
    """
    archive = _retrieve(_CIFAR_URL, "cifar-10-python.tar.gz", _CIFAR_MD5, data_home)
    batches = {}
    with tarfile.open(archive) as tar:  # its hash was checked, so the pickles inside are those of the authors
        for member in tar.getmembers():
            if "_batch" in member.name:
                stream: Any = tar.extractfile(member)
                batches[Path(member.name).name] = pickle.load(stream, encoding="bytes")
    train = [batches[f"data_batch_{i}"] for i in range(1, 6)]
    images = np.concatenate([batch[b"data"] for batch in train])
    return answer(
        return_X_y,
        images=_cifar_images(images),
        target=np.concatenate([batch[b"labels"] for batch in train]),
        test_images=_cifar_images(batches["test_batch"][b"data"]),
        test_target=np.array(batches["test_batch"][b"labels"]),
        target_names=["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    )


def _cifar_images(rows):
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _retrieve(url, name, md5, data_home):
    pooch = need_extra("pooch", "downloading data", "data")
    home = data_home or os.environ.get("SKLINVARIANT_DATA") or pooch.os_cache("sklinvariant")
    try:
        return pooch.retrieve(url, known_hash=f"md5:{md5}", fname=name, path=home)
    except OSError as error:
        raise OSError(f"{url} could not be downloaded ({error}). Save the file as {Path(home) / name}.") from error
