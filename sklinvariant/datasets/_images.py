"""Example images, and images from a folder or a file."""

import os
import zipfile
import zlib
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from sklinvariant._warnings import warn
from sklinvariant.base import documented_by, need_extra
from sklinvariant.images import IMAGE_SUFFIXES, read_image

_RETURN_X_Y = """
return_X_y : bool
    Return only ``(images, target)``.
"""


@documented_by(_RETURN_X_Y)
def load_digits_images(*, return_X_y: bool = False) -> Bunch | tuple[np.ndarray, np.ndarray]:
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
    return answer(return_X_y, images=images, target=digits.target, target_names=[str(i) for i in range(10)])


@documented_by(_RETURN_X_Y)
def load_npz(path: str | os.PathLike, *, return_X_y: bool = False) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Images and labels from an ``.npz`` file.

    Parameters
    ----------
    path : path
        A file with an array ``images``, ``x`` or ``x_train`` of shape (n, h, w[, c]) and an array ``target``,
        ``labels``, ``y`` or ``y_train`` of shape (n,). Names may be upper case.

    Returns
    -------
    Bunch
        ``images``, ``target``, ``target_names``.

    Raises
    ------
    ValueError
        If the file contains no such arrays, or if their lengths differ.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as an .npz file of numeric arrays ({error}). Write it with numpy.savez."
        ) from error
    images = _first(arrays, ("images", "x", "x_train"), path)
    target = _first(arrays, ("target", "labels", "y", "y_train"), path)
    if images.ndim not in (3, 4):
        raise ValueError(f"{path} has images of shape {images.shape}, but (n, h, w[, c]) is required. Reshape them.")
    target = target.reshape(-1) if target.ndim == 2 and target.shape[1] == 1 else target
    if target.ndim != 1:
        raise ValueError(f"{path} has labels of shape {target.shape}, but (n,) is required. Store one label per image.")
    if len(images) != len(target):
        raise ValueError(f"{path} has {len(images)} images but {len(target)} labels. Store one label per image.")
    return answer(return_X_y, images=images, target=target, target_names=[str(c) for c in np.unique(target)])


@documented_by(_RETURN_X_Y)
def load_image_folder(
    path: str | os.PathLike, image_size: int | tuple[int, int] | None = (64, 64), *, return_X_y: bool = False
) -> Bunch | tuple[Any, np.ndarray]:
    """Images from a folder that has a subfolder for each class.

    Parameters
    ----------
    path : path
        The folder.
    image_size : int, (height, width) or None, default=(64, 64)
        Size to which all images are resized. None keeps the original sizes.

    Returns
    -------
    Bunch
        ``images`` (n, h, w, 3) uint8, or a list of arrays if ``image_size`` is None, ``target``, ``target_names``,
        ``filenames`` and ``skipped``, the files that could not be read. A warning names these files.

    Raises
    ------
    ValueError
        If there is no subfolder, or if no image can be read.
    """
    cv2 = need_extra("cv2", "load_image_folder")
    shape: Any = (image_size, image_size) if isinstance(image_size, Integral) else image_size
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{path} is not a folder. Pass the path of an existing folder.")
    names = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not names:
        raise ValueError(f"{path} has no subfolders, but one for each class is required. Sort the images into them.")
    images, target, filenames, skipped = [], [], [], []
    for label, name in enumerate(names):
        for file in sorted(file for file in (root / name).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES):
            try:
                image = read_image(file)
            except ValueError:
                skipped.append(str(file))
                continue
            if shape is not None:
                image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
            images.append(image)
            target.append(label)
            filenames.append(str(file))
    if skipped:
        more = ", …" if len(skipped) > 10 else ""
        warn(f"skipped {len(skipped)} unreadable images: {', '.join(skipped[:10])}{more}")
    if not images:
        raise ValueError(
            f"{path} contains no readable images. Accepted suffixes are {', '.join(sorted(IMAGE_SUFFIXES))}. Check the "
            "folder."
        )
    return answer(
        return_X_y,
        images=images if image_size is None else np.stack(images),
        target=np.array(target),
        target_names=names,
        filenames=filenames,
        skipped=skipped,
    )


def answer(return_X_y: bool, **fields: Any) -> Any:
    return (fields["images"], fields["target"]) if return_X_y else Bunch(**fields)


def _first(arrays, names, path):
    for name in names:
        if name in arrays:
            return arrays[name]
    raise ValueError(f"{path} contains {sorted(arrays)}, but one of {list(names)} is required. Rename an array.")
