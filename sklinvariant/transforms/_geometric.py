"""Geometric transformations as 3 x 3 matrices, so that compositions are products and interpolate only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Any, Literal

import numpy as np
import torch

from sklinvariant._settings import with_own_settings
from sklinvariant.base import ArrayLike, FiniteArray, as_tensor, declared, documented_by, is_count, to_numpy, validated
from sklinvariant.images import scale_pixels
from sklinvariant.ops import pixel_moves, resample
from sklinvariant.transforms._transform import Transform, on_images

Fill = Literal["mean", "edge", "reflect"] | FiniteArray
Interpolation = Literal["bilinear", "bicubic", "nearest"]


class Geometric(Transform):
    """Base of the transformations that move the points of an image by a matrix.

    A subclass implements ``_matrices(params, shape)``. Points are (x, y), with x to the right and y down, the origin at
    the centre of the image, and half its longer side as the unit. A matrix maps a point of the image to its new
    position. It does not depend on the resolution and can also be applied to a feature map of the image.
    """

    def _matrices(self, params, shape):
        raise NotImplementedError

    def matrix(self, params: ArrayLike, shape: tuple[int, int] = (1, 1)) -> torch.Tensor:
        """The matrices for given parameters.

        Parameters
        ----------
        params : array of shape (m, p)
            Parameters from `sample` or `orbit`.
        shape : (int, int), default=(1, 1)
            Height and width of the images. Only their ratio is used, by transformations whose parameters are fractions
            of the image.

        Returns
        -------
        torch.Tensor of shape (m, 3, 3)
            float64, on the CPU; see `pixel_matrix` for pixel coordinates.
        """
        params = np.asarray(to_numpy(params), dtype=np.float64)
        return self._matrices(self._check_params(params, len(params) if params.ndim == 2 else 1), tuple(shape))

    def invert(self, images: ArrayLike, params: ArrayLike) -> ArrayLike:
        """Undo `apply` by the inverse matrices, except for pixels that were moved outside the image.

        Parameters
        ----------
        images : array or tensor of shape (n, h, w) or (n, h, w, c)
            Images or feature maps of any resolution.
        params : array or tensor of shape (n, p) or (1, p)
            The parameters that were passed to `apply`.

        Returns
        -------
        array or tensor of the same kind
        """

        def undo(x):
            matrices = self._matrices(self._check_params(params, len(x)), tuple(x.shape[-2:]))
            return warp_tensor(x, _inverse(matrices), None, *with_default_sampling(self._sampling(), fill=0.0))

        return on_images(images, undo)

    def _apply(self, images, params, size=None):
        matrices = self._matrices(params, tuple(images.shape[-2:]))
        return warp_tensor(images, matrices, size, *with_default_sampling(self._sampling()))

    def _sampling(self):
        """Interpolation and fill; None if the transformation does not depend on them."""
        return self.interpolation, self.fill


@declared
class Interpolated(Geometric):
    """Base of the geometric transformations that move points between pixels or from outside the image.

    Parameters
    ----------
    fill : {"mean", "edge", "reflect"}, float or sequence
        Values outside an image: its mean pixel, its border, its reflection, or a number for all channels or for each
        channel (0-1).
    interpolation : {"bilinear", "bicubic", "nearest"}
        Interpolation between pixels.
    """

    _: KW_ONLY
    fill: Fill = 0.0
    interpolation: Interpolation = "bilinear"


@documented_by(Interpolated)
@with_own_settings
@validated
def warp(
    images: Any,
    matrix: Any,
    *,
    size: tuple | list | None = None,
    interpolation: Interpolation = "bilinear",
    fill: Fill = 0.0,
) -> Any:
    """Warp images by matrices, with a single interpolation.

    Parameters
    ----------
    images : array or tensor of shape (n, h, w) or (n, h, w, c)
        Integers 0-255, which are scaled to floats 0-1, or floats.
    matrix : array or tensor of shape (n, 3, 3) or (3, 3)
        Matrices from `Geometric.matrix`, their products (the last applied is leftmost), or their inverses.
    size : (int, int) or None, default=None
        Height and width of the result, which shows the same rectangle; None keeps the size of the images.
    fill : {"mean", "edge", "reflect"}, float or sequence, default=0.0
        Values outside an image: its mean pixel, its border, its reflection, or a number for all channels or for each
        channel (on the scale 0-1 for uint8 images).

    Returns
    -------
    array or tensor of the same kind

    Raises
    ------
    ValueError
        If a parameter is invalid, or a matrix has no inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.transforms import Rotation, warp
    >>> quarter = Rotation().matrix([[90.0]])
    >>> warp(np.array([[[1, 2], [3, 4]]]) / 4, quarter @ quarter)
    array([[[1.  , 0.75],
            [0.5 , 0.25]]])
    """
    matrix = as_tensor(np.asarray(to_numpy(matrix), dtype=np.float64))
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    if matrix.ndim != 3 or matrix.shape[1:] != (3, 3) or len(matrix) not in (1, len(images)):
        raise ValueError(f"matrix must be of shape (3, 3) or ({len(images)}, 3, 3), got {tuple(matrix.shape)}")
    if not torch.isfinite(matrix).all() or (torch.linalg.det(matrix) == 0).any():
        raise ValueError("matrix must be finite and have an inverse")
    if size is not None and (len(size) != 2 or not all(map(is_count, size))):
        raise ValueError(f"size must be None or (height, width) in pixels, got {size!r}")
    return on_images(images, lambda x: warp_tensor(x, matrix, size, interpolation, fill))


def pixel_matrix(matrix: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Convert matrices to pixel coordinates (column, row), as used by scikit-image and OpenCV.

    Parameters
    ----------
    matrix : array or tensor of shape (..., 3, 3)
        Matrices from `Geometric.matrix`.
    shape : (int, int)
        Height and width of the image in pixels.

    Returns
    -------
    numpy.ndarray of shape (..., 3, 3)
    """
    h, w = shape
    unit = max(h, w) / 2
    to_pixels = np.array([[unit, 0, (w - 1) / 2], [0, unit, (h - 1) / 2], [0, 0, 1]])
    return to_pixels @ np.asarray(to_numpy(matrix)) @ np.linalg.inv(to_pixels)


def warp_tensor(
    images: torch.Tensor, matrices: torch.Tensor, size: Sequence[int] | None, interpolation: str, fill: Any
) -> torch.Tensor:
    """`warp` for a tensor of images (n, c, h, w) and matrices (n or 1, 3, 3)."""
    shape = tuple(images.shape[-2:])
    if images.is_floating_point() or (pixel_moves(matrices, shape, tuple(size or shape)) < 0).any():
        images = scale_pixels(images)
    if not isinstance(fill, str):
        value = torch.as_tensor(np.ravel(np.asarray(fill, dtype=np.float64)))
        if len(value) not in (1, images.shape[1]) or not torch.isfinite(value).all():
            raise ValueError(
                f"fill must be a finite number, or {images.shape[1]} numbers, one for each channel, got {fill!r}"
            )
        fill = value.item() if len(value) == 1 else value.to(images)[None, :, None, None]
        return resample(images, matrices, size, interpolation, "constant", fill)
    if fill == "mean":
        fill = images.mean((-2, -1), keepdim=True) if images.is_floating_point() else 0.0
        return resample(images, matrices, size, interpolation, "constant", fill)
    return resample(images, matrices, size, interpolation, fill)


def with_default_sampling(sampling: tuple[Any, Any], fill: Any = "edge") -> tuple[Any, Any]:
    """Interpolation and fill, with defaults instead of None."""
    return tuple(default if own is None else own for own, default in zip(sampling, ("bilinear", fill), strict=True))


def _inverse(matrices):
    """The inverse matrices, which are exact for permutations of pixels."""
    inverse = torch.linalg.inv(matrices)
    rounded = inverse.round()
    exact = (rounded @ matrices == torch.eye(3, dtype=matrices.dtype)).all(-1).all(-1)
    return torch.where(exact[:, None, None], rounded, inverse)
