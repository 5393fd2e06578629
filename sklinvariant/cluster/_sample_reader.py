"""The reader of rows and of images of equal size, also in pairs, for the estimators with a `ClusterNetwork`."""

import math

import numpy as np
import torch

from sklinvariant.base import FrameReader, Input, Reader, RowReader
from sklinvariant.images import ImageInput, ImageReader


class SampleReader(Reader):
    """Reads rows (n, d) or images (n, h, w, c); flat rows are images only if ``image_shape`` is set."""

    needs = "rows or images, as arrays"
    three_d_array = True

    def __init__(self) -> None:
        self.rows, self.images = RowReader(), ImageReader()

    def _check(self, estimator, X, kind, reset):
        as_rows, name = estimator.image_shape is None and not _are_images(X), type(estimator).__name__
        if not reset:
            _refuse_pairs(name, X, tuple(estimator._state["sample_shape"]))
        if not reset and as_rows is not (estimator._state["n_channels"] is None):
            raise ValueError(
                f"{name} was fitted on {'images' if as_rows else 'rows'}, but X contains "
                f"{'rows' if as_rows else 'images'}. Set image_shape for flat rows, or pass X[None] for a single image"
            )
        given = (self.rows if as_rows else self.images)._check(estimator, X, kind, reset)
        if reset and as_rows:
            estimator.__dict__.pop("pixel_range_", None)
        if not reset and list(given.data.shape[1:]) != (expected := estimator._state["sample_shape"]):
            raise ValueError(
                f"the images have shape {tuple(given.data.shape[1:])}, but {name} was fitted on images of shape "
                f"{tuple(expected)}. Resize the images"
            )
        return given


def _refuse_pairs(name, X, sample_shape):
    """Raise a ValueError if X contains pairs (n, 2, ...) of samples."""
    shape = _shape(X)
    if len(sample_shape) == 1:
        in_pairs = len(shape) == 3
    else:  # an image can be given as (h, w, c), as a flat row, and if it is grey as (h, w)
        same = [sample_shape, (math.prod(sample_shape),)] + [sample_shape[:2]] * (sample_shape[2] == 1)
        in_pairs = shape[2:] in same and shape[1:] not in same
    if in_pairs and shape[1] == 2:
        raise ValueError(
            f"X of shape {shape} contains pairs, but {name} needs single samples of shape {sample_shape} here. Pass "
            "the first or the second sample of each pair, X[:, 0] or X[:, 1] of an array"
        )


def _shape(X):
    """The shape of X; a list has the shape that it would have if all of its items were like the first one."""
    if isinstance(X, (list, tuple)):
        return (len(X), *(_shape(X[0]) if len(X) else ()))
    nested = isinstance(X, torch.Tensor) and X.is_nested
    return () if nested else tuple(getattr(X, "shape", ()))


def _are_images(X):
    """Whether X, or the first item of a list, is an image."""
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and (X[0].ndim if isinstance(X[0], torch.Tensor) else np.ndim(X[0])) > 1
    return getattr(X, "ndim", 2) > 2


SAMPLES = SampleReader()
PAIRS = FrameReader(SAMPLES, explicit=True)


def samples_of(given: Input) -> torch.Tensor:
    """Rows (n, d) of floats, or images (n, h, w, c) as they were given: integers are converted in batches."""
    return given.data.to(given.device) if isinstance(given, ImageInput) else given.tensor()
