"""Images to try things on: bundled, from a folder or a file, or fetched once and cached."""

import gzip
import os
import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

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
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def load_digits_images():
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, float32 0-1.

    Returns
    -------
    Bunch
        ``images`` (n, 8, 8), ``target`` (n,), ``target_names``.

    Examples
    --------
    >>> from sklinvariant.datasets import load_digits_images
    >>> load_digits_images().images.shape
    (1797, 8, 8)
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    return Bunch(images=images, target=digits.target, target_names=[str(i) for i in range(10)])


def load_npz(path):
    """Images and labels from an ``.npz`` file.

    Parameters
    ----------
    path : path
        Holds ``images``, ``x`` or ``x_train`` (n, h, w[, c]) and ``target``, ``y`` or ``y_train`` (n,).

    Returns
    -------
    Bunch
        ``images``, ``target``, ``target_names``.

    Raises
    ------
    ValueError
        Where the file holds no such arrays, or their lengths differ.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except (OSError, ValueError) as error:
        if not os.path.exists(path):
            raise
        raise ValueError(f"{path} is not an .npz file of plain arrays ({error})") from error
    images = _first(arrays, ("images", "x", "x_train"), path)
    target = _first(arrays, ("target", "labels", "y", "y_train"), path)
    if images.ndim not in (3, 4):
        raise ValueError(f"{path}: images must be of shape (n, h, w[, c]), got {images.shape}")
    if len(images) != len(target):
        raise ValueError(f"{path}: {len(images)} images but {len(target)} labels")
    return Bunch(images=images, target=target, target_names=[str(c) for c in np.unique(target)])


def load_image_folder(path, size=(64, 64)):
    """Pictures from a folder that has a sub-folder for each class.

    Parameters
    ----------
    path : path
        The folder.
    size : (height, width), default=(64, 64)
        All pictures are resized to this.

    Returns
    -------
    Bunch
        ``images`` (n, h, w, 3) uint8, ``target``, ``target_names``, ``filenames`` and ``skipped``: the files that
        could not be read, which are named in a warning.

    Raises
    ------
    ValueError
        Where there is no sub-folder, or no picture can be read.
    """
    from sklinvariant.feature_extraction._local_descriptors import need_extra

    cv2 = need_extra("cv2", "load_image_folder")
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    names = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not names:
        raise ValueError(f"{path} has no sub-folders: expected one for each class")
    images, target, filenames, skipped = [], [], [], []
    for label, name in enumerate(names):
        for file in sorted(file for file in (root / name).rglob("*") if file.suffix.lower() in _PICTURES):
            picture = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) if file.stat().st_size else None
            if picture is None:
                skipped.append(str(file))
                continue
            images.append(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)[..., ::-1])
            target.append(label)
            filenames.append(str(file))
    if skipped:
        warnings.warn(f"skipped {len(skipped)} unreadable pictures: {', '.join(skipped[:10])}", stacklevel=2)
    if not images:
        raise ValueError(f"{path} holds no readable pictures ({', '.join(sorted(_PICTURES))})")
    return Bunch(
        images=np.stack(images), target=np.array(target), target_names=names, filenames=filenames, skipped=skipped
    )


def fetch_fashion_mnist(data_home=None):
    """Fashion-MNIST, 60000 + 10000 images of 28 x 28 pixels; fetched once and cached.

    Parameters
    ----------
    data_home : path or None, default=None
        The cache; None is ``$SKLINVARIANT_DATA`` or the user's cache folder.

    Returns
    -------
    Bunch
        ``images`` (60000, 28, 28) uint8, ``target``, ``test_images``, ``test_target``, ``target_names``.
    """
    files = {name: _retrieve(_FASHION_URL + name, name, md5, data_home) for name, md5 in _FASHION.items()}
    arrays = []
    for name, file in files.items():
        with gzip.open(file) as stream:
            data = np.frombuffer(stream.read(), np.uint8)
        arrays.append(data[16:].reshape(-1, 28, 28) if "images" in name else data[8:].astype(np.int64))
    images, target, test_images, test_target = arrays
    return Bunch(
        images=images,
        target=target,
        test_images=test_images,
        test_target=test_target,
        target_names=list(_FASHION_NAMES),
    )


def fetch_cifar10(data_home=None):
    """CIFAR-10, 50000 + 10000 colour images of 32 x 32 pixels; fetched once and cached.

    Parameters
    ----------
    data_home : path or None, default=None
        The cache; None is ``$SKLINVARIANT_DATA`` or the user's cache folder.

    Returns
    -------
    Bunch
        ``images`` (50000, 32, 32, 3) uint8, ``target``, ``test_images``, ``test_target``, ``target_names``.
    """
    archive = _retrieve(_CIFAR_URL, "cifar-10-python.tar.gz", _CIFAR_MD5, data_home)
    batches = {}
    with tarfile.open(archive) as tar:  # checked against its hash: the pickles inside are the authors'
        for member in tar.getmembers():
            if "_batch" in member.name:
                batches[Path(member.name).name] = pickle.load(tar.extractfile(member), encoding="bytes")
    train = [batches[f"data_batch_{i}"] for i in range(1, 6)]
    images = np.concatenate([batch[b"data"] for batch in train])
    return Bunch(
        images=_cifar_images(images),
        target=np.concatenate([batch[b"labels"] for batch in train]),
        test_images=_cifar_images(batches["test_batch"][b"data"]),
        test_target=np.array(batches["test_batch"][b"labels"]),
        target_names=["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    )


def _cifar_images(rows):
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _first(arrays, names, path):
    for name in names:
        if name in arrays:
            return arrays[name]
    raise ValueError(f"{path} holds {sorted(arrays)}; expected one of {list(names)}")


def _retrieve(url, name, md5, data_home):
    try:
        import pooch
    except ImportError as error:
        raise ImportError('fetching data needs pooch: pip install "sklinvariant[data]"') from error
    home = data_home or os.environ.get("SKLINVARIANT_DATA") or pooch.os_cache("sklinvariant")
    try:
        return pooch.retrieve(url, known_hash=f"md5:{md5}", fname=name, path=home)
    except OSError as error:
        raise OSError(f"could not fetch {url} ({error}); put the file at {Path(home) / name} yourself") from error
