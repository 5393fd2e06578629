"""Geometric transformations are 3 x 3 matrices, so that chains multiply and the image is looked up once."""

from typing import Any, Literal

import numpy as np
import torch

from sklinvariant._settings import with_own_settings
from sklinvariant.base import FiniteArray, as_tensor, is_count, to_numpy, validated
from sklinvariant.images import scale_pixels
from sklinvariant.ops import pixel_moves, resample
from sklinvariant.transforms._transform import Transform, on_images

Fill = Literal["mean", "edge", "reflect"] | FiniteArray
Interpolation = Literal["bilinear", "bicubic", "nearest"]


class Geometric(Transform):
    """Base of the transformations that move the points of an image by a matrix.

    A subclass gives ``_matrices(params, shape)``. Points are (x, y), x to the right and y down, with the origin at
    the centre of the image and half its longer side as the unit; a matrix takes a point of the image to where it
    lies afterwards. So it does not depend on how many pixels there are, and also moves a feature map of the image.
    """

    def _matrices(self, params, shape):
        raise NotImplementedError

    def matrix(self, params, shape=(1, 1)):
        """Matrices of parameters.

        Parameters
        ----------
        params : array of shape (m, p)
            As `sample` and `orbit` give them.
        shape : (int, int), default=(1, 1)
            Height and width of the images; only their ratio matters, and only to what counts in image sizes.

        Returns
        -------
        torch.Tensor of shape (m, 3, 3)
            float64, on the CPU; see `pixel_matrix` for pixels.
        """
        params = np.asarray(to_numpy(params), dtype=np.float64)
        return self._matrices(self._check_params(params, len(params) if params.ndim == 2 else 1), tuple(shape))

    def invert(self, images, params):
        """Undo `apply`, as far as pixels were kept: move by the inverse matrices.

        Parameters
        ----------
        images : array or tensor of shape (n, h, w) or (n, h, w, c)
            Images or feature maps of any number of pixels.
        params : array or tensor of shape (n, p) or (1, p)
            Those that `apply` was given.

        Returns
        -------
        array or tensor of the same kind
        """

        def undo(x):
            matrices = self._matrices(self._check_params(params, len(x)), tuple(x.shape[-2:]))
            return warp_tensor(x, _inverse(matrices), None, *settled(self._look_up(), fill=0.0))

        return on_images(images, undo)

    def _apply(self, images, params, size=None):
        matrices = self._matrices(params, tuple(images.shape[-2:]))
        return warp_tensor(images, matrices, size, *settled(self._look_up()))

    def _look_up(self):
        """Interpolation and fill, None for what makes no difference to this transformation."""
        return self.interpolation, self.fill


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
    """Move images by matrices: whatever was composed, in one look-up.

    Parameters
    ----------
    images : array or tensor of shape (n, h, w) or (n, h, w, c)
        Images as `Transform.apply` takes them.
    matrix : array or tensor of shape (n, 3, 3) or (3, 3)
        As `Geometric.matrix` gives them, products of them (the last applied stands left), or inverses.
    size : (int, int) or None, default=None
        Height and width of the answer, which shows the same rectangle; None keeps the images'.
    interpolation : {"bilinear", "bicubic", "nearest"}, default="bilinear"
        How values between pixels are found.
    fill : {"mean", "edge", "reflect"}, float or sequence, default=0.0
        What lies outside an image: its own mean pixel, its border, its mirror image, or a value (one for all
        channels or one each; on the scale 0-1 for uint8 images).

    Returns
    -------
    array or tensor of the same kind

    Raises
    ------
    ValueError
        Where a parameter is not as above, or a matrix has no inverse.

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


def pixel_matrix(matrix, shape):
    """Matrices on pixel coordinates (column, row), as scikit-image's and OpenCV's warps take them.

    Parameters
    ----------
    matrix : array or tensor of shape (..., 3, 3)
        As `Geometric.matrix` gives them.
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


def warp_tensor(images, matrices, size, interpolation, fill):
    """(n, c, h, w) moved by (n or 1, 3, 3); `warp` on what torch computes with."""
    shape = tuple(images.shape[-2:])
    if images.is_floating_point() or (pixel_moves(matrices, shape, tuple(size or shape)) < 0).any():
        images = scale_pixels(images)
    if not isinstance(fill, str):
        value = torch.as_tensor(np.ravel(np.asarray(fill, dtype=np.float64)))
        if len(value) not in (1, images.shape[1]) or not torch.isfinite(value).all():
            raise ValueError(f"fill must be a finite number, or {images.shape[1]}, one a channel, got {fill!r}")
        fill = value.item() if len(value) == 1 else value.to(images)[None, :, None, None]
        return resample(images, matrices, size, interpolation, "constant", fill)
    if fill == "mean":
        fill = images.mean((-2, -1), keepdim=True) if images.is_floating_point() else 0.0
        return resample(images, matrices, size, interpolation, "constant", fill)
    return resample(images, matrices, size, interpolation, fill)


def settled(look_up, fill="edge"):
    """A look-up in which nothing is None."""
    return tuple(default if own is None else own for own, default in zip(look_up, ("bilinear", fill), strict=True))


def _inverse(matrices):
    """The inverse; that of a move of pixels is exact."""
    inverse = torch.linalg.inv(matrices)
    rounded = inverse.round()
    exact = (rounded @ matrices == torch.eye(3, dtype=matrices.dtype)).all(-1).all(-1)
    return torch.where(exact[:, None, None], rounded, inverse)
