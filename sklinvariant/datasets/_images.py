"""Images to try things on: bundled, or from a folder or a file."""

import warnings
import zipfile
import zlib
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from sklinvariant.images import IMAGE_SUFFIXES, need_extra, read_image


def load_digits_images(*, return_X_y=False):
    """scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, float32 0-1.

    Parameters
    ----------
    return_X_y : bool, default=False
        Return ``(images, target)`` alone.

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
    return answer(return_X_y, images=images, target=digits.target, target_names=[str(i) for i in range(10)])


def load_npz(path, *, return_X_y=False):
    """Images and labels from an ``.npz`` file.

    Parameters
    ----------
    path : path
        Holds ``images``, ``x`` or ``x_train`` (n, h, w[, c]) and ``target``, ``labels``, ``y`` or ``y_train`` (n,);
        in capitals too.
    return_X_y : bool, default=False
        Return ``(images, target)`` alone.

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
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not an .npz file of plain arrays ({error})") from error
    images = _first(arrays, ("images", "x", "x_train"), path)
    target = _first(arrays, ("target", "labels", "y", "y_train"), path)
    if images.ndim not in (3, 4):
        raise ValueError(f"{path}: images must be of shape (n, h, w[, c]), got {images.shape}")
    target = target.reshape(-1) if target.ndim == 2 and target.shape[1] == 1 else target
    if target.ndim != 1:
        raise ValueError(f"{path}: labels must be of shape (n,), got {target.shape}")
    if len(images) != len(target):
        raise ValueError(f"{path}: {len(images)} images but {len(target)} labels")
    return answer(return_X_y, images=images, target=target, target_names=[str(c) for c in np.unique(target)])


def load_image_folder(path, size=(64, 64), *, return_X_y=False):
    """Pictures from a folder that has a sub-folder for each class.

    Parameters
    ----------
    path : path
        The folder.
    size : int, (height, width) or None, default=(64, 64)
        All pictures are resized to this; None leaves each as it is.
    return_X_y : bool, default=False
        Return ``(images, target)`` alone.

    Returns
    -------
    Bunch
        ``images`` (n, h, w, 3) uint8, or a list of them where ``size`` is None, ``target``, ``target_names``,
        ``filenames`` and ``skipped``: the files that could not be read, which are named in a warning.

    Raises
    ------
    ValueError
        Where there is no sub-folder, or no picture can be read.
    """
    cv2 = need_extra("cv2", "load_image_folder")
    size = (size, size) if isinstance(size, Integral) else size
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {path}")
    names = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not names:
        raise ValueError(f"{path} has no sub-folders: expected one for each class")
    images, target, filenames, skipped = [], [], [], []
    for label, name in enumerate(names):
        for file in sorted(file for file in (root / name).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES):
            try:
                picture = read_image(file)
            except ValueError:
                skipped.append(str(file))
                continue
            if size is not None:
                picture = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
            images.append(picture)
            target.append(label)
            filenames.append(str(file))
    if skipped:
        more = ", …" if len(skipped) > 10 else ""
        warnings.warn(f"skipped {len(skipped)} unreadable pictures: {', '.join(skipped[:10])}{more}", stacklevel=2)
    if not images:
        raise ValueError(f"{path} holds no readable pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return answer(
        return_X_y,
        images=images if size is None else np.stack(images),
        target=np.array(target),
        target_names=names,
        filenames=filenames,
        skipped=skipped,
    )


def answer(return_X_y, **fields):
    return (fields["images"], fields["target"]) if return_X_y else Bunch(**fields)


def _first(arrays, names, path):
    for name in names:
        if name in arrays:
            return arrays[name]
    raise ValueError(f"{path} holds {sorted(arrays)}; expected one of {list(names)}")
