"""The images of a folder, and backbones for them: pretrained, or learned from the images themselves."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sklinvariant._warnings import warn

if TYPE_CHECKING:
    from sklinvariant.feature_extraction import BackbonePatches, ConvolutionalFeatures

_MOST_TO_LEARN = 500  # largest number of images from which features are learned
_N_WORDS = 128  # number of learned features


def list_images(folder: Path, but: Path | None = None, *, follow_links: bool = False) -> list[tuple[str, list[int]]]:
    """Sorted list of (relative file name, [bytes, modification time]) of all images that are not in the folder ``but``.

    Links to folders, and links to files outside the folder, are followed only with ``follow_links``.
    """
    from sklinvariant.images import IMAGE_SUFFIXES

    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    root, files, passed_over = folder.resolve(), [], 0
    seen = {root, but.resolve()} if but else {root}
    for place, folders, names in os.walk(folder, followlinks=follow_links, onerror=_warn):
        paths = {name: Path(place, name) for name in folders}
        links = [path for path in paths.values() if path.is_symlink()]
        passed_over += 0 if follow_links else sum(_points_outside(path, root) for path in links)
        folders[:] = [name for name, path in paths.items() if _is_new(path, seen)]
        for path in (Path(place, name) for name in names):
            identity = photo_identity(path) if path.suffix.lower() in IMAGE_SUFFIXES else None
            if identity is None:
                continue
            if path.is_symlink() and not follow_links and _points_outside(path, root):
                passed_over += 1
            else:
                files.append((path.relative_to(folder), identity))
    if passed_over:
        warn(
            f"{passed_over} links lead out of {folder} and were skipped. To follow them, pass --follow-links",
        )
    return [(str(path), identity) for path, identity in sorted(files)]


def check_still_there(folder: Path) -> None:
    """Raise a FileNotFoundError if a folder is gone, so that unreadable files are not taken for damaged ones."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} was removed or unmounted during the run. Run the command again when it is back"
        )


def photo_identity(path: str | os.PathLike) -> list[int] | None:
    """[bytes, modification time] of a file; None if it does not exist."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # the reason is reported when the file is read
        return [0, 0]
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


def _points_outside(link, root):
    real = Path(os.path.realpath(link))  # Path.resolve raises for links to themselves
    return real != root and root not in real.parents


def _is_new(folder, seen):
    """Whether a folder was not visited before through another link. It then counts as visited."""
    real = Path(os.path.realpath(folder))
    is_new = real not in seen
    seen.add(real)
    return is_new


def _warn(error):
    warn(f"a folder cannot be read: {error}")


def learn_backbone(files: Sequence[str], image_size: int, seed: int, device: str = "auto") -> ConvolutionalFeatures:
    """Features learned from some of the images, used without pretrained weights.

    They are learned on the device, and then compute on that of their input.
    """
    import torch

    from sklinvariant.aggregation import BagOfWords
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.images import ImageStream

    chosen = np.random.RandomState(seed).permutation(len(files))[:_MOST_TO_LEARN]
    stream: Any = ImageStream([files[i] for i in chosen], image_size, "mean", on_error="nan")
    batches = [images for _, images in stream.batches(50)]
    if not batches:
        raise ValueError(
            f"none of {len(stream)} images can be read, but at least one is required: {stream.failed[0][1]}"
        )
    features = ConvolutionalFeatures(
        BagOfWords(_N_WORDS),
        stride=3,
        pool=3,
        contrast_eps=0.1,
        whitening_eps=0.01,
        random_state=seed,
        device=device,
    )
    return features.fit(torch.cat(batches)).set_params(device="auto")


def check_weights(weights: str | os.PathLike | None) -> None:
    """Raise a ValueError, before any work, for anything but None and a file of weights of SqueezeNet 1.1."""
    from sklinvariant.feature_extraction import load_weights
    from sklinvariant.networks import SqueezeNet11Features

    if weights is None:
        return
    try:
        load_weights(SqueezeNet11Features(), weights)
    except (OSError, ValueError) as error:  # whose text lists all layers
        reason = "is no file of weights of SqueezeNet 1.1" if os.path.exists(weights) else "does not exist"
        raise ValueError(
            f"--weights {os.fspath(weights)} {reason}. Pass such a file (.npz, .safetensors or state dict), or use "
            "BackbonePatches or BackboneFeatures from Python for another network"
        ) from error


def squeezenet(weights: str | os.PathLike) -> BackbonePatches:
    """SqueezeNet 1.1 with the weights of a file."""
    from sklinvariant.feature_extraction import BackbonePatches
    from sklinvariant.networks import SqueezeNet11Features

    mean = np.array([104, 117, 123]) / 255
    return BackbonePatches(SqueezeNet11Features(), weights=weights, bgr=True, mean=mean, std=1 / 255)
