"""The geometric transformations: rotation, scale, translation, flip, shear, crop."""

from __future__ import annotations

from dataclasses import KW_ONLY
from numbers import Real
from typing import Literal

import torch

from sklinvariant.base import Count, Finite, Positive, declared
from sklinvariant.transforms._geometric import Geometric, Interpolated
from sklinvariant.transforms._transform import Generator, bounds_of, uniform


def _affine(xx=1.0, xy=0.0, x=0.0, yx=0.0, yy=1.0, y=0.0):
    """(m, 3, 3) matrices from entries that are numbers or (m,) tensors: x' = xx x + xy y + x, y' = yx x + yy y + y."""
    entries = torch.broadcast_tensors(*(torch.as_tensor(e, dtype=torch.float64) for e in (xx, xy, x, yx, yy, y)))
    rows = torch.stack(entries, dim=-1).reshape(-1, 2, 3)
    return torch.cat([rows, rows.new_tensor([0.0, 0.0, 1.0]).expand(len(rows), 1, 3)], dim=1)


def _extent(shape):
    """Half the width and half the height of an image, divided by half its longer side."""
    h, w = shape
    return w / max(h, w), h / max(h, w)


@declared
class Rotation(Interpolated):
    """Rotation about the centre. Its parameter is the angle in degrees, counter-clockwise.

    Parameters
    ----------
    degrees : float or (float, float)
        Range of the angles: ± this number, or (low, high).
    n_steps : int or None
        Number of evenly spaced angles that are sampled and enumerated; None is any angle. If the range is the full
        circle, this is the finite group of rotations by 360 / n_steps degrees. With 4 steps the pixels of square
        images are permuted exactly.

    Examples
    --------
    >>> from sklinvariant.transforms import Rotation
    >>> Rotation(n_steps=4).orbit()[:, 0].tolist()
    [0.0, 90.0, 180.0, 270.0]
    """

    _default_orbit = 36
    degrees: Finite | tuple | list = 180.0
    _: KW_ONLY
    n_steps: Count | None = None

    def _bounds(self):
        return torch.tensor([bounds_of("degrees", self.degrees)], dtype=torch.float64)

    def orbit(self, m: int | None = None) -> torch.Tensor:
        """Angles (m, 1), evenly spaced on the circle from 0 or over a smaller range."""
        self._validate_params()
        m = self._orbit_size(m)
        low, high = self._bounds()[0].tolist()
        if high - low < 360:
            return super().orbit(m)
        return torch.arange(m, dtype=torch.float64)[:, None] * 360 / m

    def _matrices(self, params, shape):
        # quarter turns and the remaining angle, so that the matrices of quarter turns have exact zeros and ones
        quarter, rest = torch.floor(params[:, 0] / 90), torch.remainder(params[:, 0], 90) * torch.pi / 180
        cosines = torch.stack([rest.cos(), -rest.sin(), -rest.cos(), rest.sin()], dim=1)
        c = cosines.gather(1, torch.remainder(quarter, 4).long()[:, None])[:, 0]
        s = cosines.gather(1, torch.remainder(quarter + 3, 4).long()[:, None])[:, 0]  # sin(t) = cos(t - 90)
        return _affine(c, s, 0, -s, c, 0)


@declared
class Scale(Interpolated):
    """Centre crops, enlarged to the size of the image. Its parameter is the fraction of the height and width kept.

    Parameters
    ----------
    low : float
        Smallest fraction. The paper on nested invariance pooling uses ten scales "from 50 % to 100 %", here understood
        as fractions of the side, not of the area.
    high : float
        Largest fraction. Above 1 the image shrinks and its surroundings are filled.
    n_steps : int or None
        Number of evenly spaced fractions; None is any fraction.

    Examples
    --------
    >>> from sklinvariant.transforms import Scale
    >>> Scale().orbit(3)[:, 0].tolist()
    [0.5, 0.75, 1.0]
    """

    _default_orbit = 10
    low: Positive = 0.5
    high: Positive = 1.0
    _: KW_ONLY
    n_steps: Count | None = None

    def _bounds(self):
        return torch.tensor([bounds_of("(low, high)", (self.low, self.high), lowest=0)], dtype=torch.float64)

    def _matrices(self, params, shape):
        if (params <= 0).any():
            raise ValueError(f"params of Scale must be positive, got {params.min().item():g}")
        return _affine(1 / params[:, 0], 0, 0, 0, 1 / params[:, 0], 0)


@declared
class Translation(Interpolated):
    """Translation. Its parameters are the shifts down and to the right, as fractions of height and width.

    Parameters
    ----------
    fraction : float or (float, float)
        Range of the shifts of both axes as fractions of the side: ± this number, or (low, high).
    """

    fraction: Finite | tuple | list = 0.25
    _: KW_ONLY

    def _bounds(self):
        return torch.tensor([bounds_of("fraction", self.fraction)] * 2, dtype=torch.float64)

    def orbit(self, m: int | None = None) -> torch.Tensor:
        """A square grid of shifts (m, 2), where m is a square number."""
        self._validate_params()
        m = self._orbit_size(m)
        side = round(m**0.5)
        if side * side != m:
            raise ValueError(f"m must be a square number for Translation, which makes a square grid of shifts, got {m}")
        low, high = self._bounds()[0].tolist()
        axis = torch.linspace(low, high, side, dtype=torch.float64)
        axis = axis if side > 1 else (axis + high) / 2
        return torch.cartesian_prod(axis, axis)

    def _matrices(self, params, shape):
        x, y = _extent(shape)
        return _affine(x=2 * x * params[:, 1], y=2 * y * params[:, 0])


@declared
class Flip(Geometric):
    """Reflections, a finite group that is applied exactly. Its parameters are 0 or 1: vertical, horizontal.

    Parameters
    ----------
    axis : {"horizontal", "vertical", "both"}
        "horizontal" swaps left and right (2 elements), "vertical" top and bottom (2), "both" has 4 elements.
    """

    axis: Literal["horizontal", "vertical", "both"] = "horizontal"
    fill = interpolation = None

    def _bounds(self):
        used = {"horizontal": (0, 1), "vertical": (1, 0), "both": (1, 1)}[self.axis]
        return torch.tensor([[0, used[0]], [0, used[1]]], dtype=torch.float64)

    def sample(self, n: int, generator: Generator = None) -> torch.Tensor:
        """Draw 0 or 1 with equal probability for each axis: (n, 2)."""
        self._validate_params()
        return (uniform(n, 2, generator) < 0.5).double() * self._bounds()[:, 1]

    def orbit(self, m: int | None = None) -> torch.Tensor:
        """All 2 or 4 elements, (m, 2); m must be None or this number."""
        self._validate_params()
        down, right = (torch.arange(high + 1, dtype=torch.float64) for high in self._bounds()[:, 1].tolist())
        elements = torch.cartesian_prod(down, right)
        if m is not None and m != len(elements):
            raise ValueError(
                f"m must be None or {len(elements)}, the number of elements of Flip({self.axis!r}), got m={m}"
            )
        return elements

    def _matrices(self, params, shape):
        if not ((params == 0) | (params == 1)).all():
            raise ValueError("params of Flip must be 0 or 1, got other numbers")
        return _affine(xx=1 - 2 * params[:, 1], yy=1 - 2 * params[:, 0])


@declared
class Shear(Interpolated):
    """Shear about the centre. Its parameters are the shear angles of columns and rows in degrees.

    Parameters
    ----------
    degrees : float or (float, float)
        Range of the angles: ± this number, or (low, high), within ±90, or ±45 for both axes.
    axis : {"horizontal", "vertical", "both"}
        "horizontal" moves pixels along rows, "vertical" along columns.
    """

    degrees: Finite | tuple | list = 15.0
    _: KW_ONLY
    axis: Literal["horizontal", "vertical", "both"] = "horizontal"

    def _bounds(self):
        low, high = bounds_of("degrees", self.degrees)
        if low <= -90 or high >= 90 or (self.axis == "both" and max(-low, high) >= 45):
            raise ValueError(f"degrees must lie within ±90, or ±45 for both axes, got {self.degrees!r}")
        axes = {"horizontal": (1, 0), "vertical": (0, 1), "both": (1, 1)}[self.axis]
        return torch.tensor([[low * used, high * used] for used in axes], dtype=torch.float64)

    def _matrices(self, params, shape):
        lean = (params * torch.pi / 180).tan()
        return _affine(xy=-lean[:, 0], yx=-lean[:, 1])


@declared
class Crop(Geometric):
    """Random crops, resized to the image. Parameters: centre (down, right), height, width, as fractions of the image.

    Parameters
    ----------
    area : float or (float, float)
        Range of the fraction of the area that is kept.
    ratio : (float, float)
        Range of the aspect ratio, width to height, relative to that of the image.
    interpolation : {"bilinear", "bicubic", "nearest"}
        Interpolation between pixels.
    """

    area: Finite | tuple | list = (0.25, 1.0)
    _: KW_ONLY
    ratio: tuple | list = (0.75, 4 / 3)
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    fill = None  # a crop never leaves the image

    def _bounds(self):
        return torch.tensor([[0, 1]] * 4, dtype=torch.float64)

    def _box(self, unit):
        """Map rows of four numbers in 0-1 to crops: position (2), area, and aspect ratio (on a logarithmic scale)."""
        area = (self.area, self.area) if isinstance(self.area, Real) else self.area
        smallest, largest = bounds_of("area", area, lowest=0)
        narrow, wide = bounds_of("ratio", self.ratio, lowest=0)
        if smallest <= 0 or largest > 1 or narrow <= 0:
            raise ValueError(f"area must lie in (0, 1] and ratio above 0, got {self.area!r} and {self.ratio!r}")
        size = smallest + (largest - smallest) * unit[:, 2]
        ratio = narrow * (wide / narrow) ** unit[:, 3]
        height, width = (size / ratio).sqrt().clamp(max=1), (size * ratio).sqrt().clamp(max=1)
        return torch.stack(
            [height / 2 + (1 - height) * unit[:, 0], width / 2 + (1 - width) * unit[:, 1], height, width], 1
        )

    def sample(self, n: int, generator: Generator = None) -> torch.Tensor:
        """Draw crops of random position, size and aspect ratio inside the image: (n, 4)."""
        return self._box(super().sample(n, generator))

    def orbit(self, m: int | None = None) -> torch.Tensor:
        """Crops (m, 4) that cover positions, sizes and aspect ratios evenly."""
        return self._box(super().orbit(m))

    def _matrices(self, params, shape):
        if (params[:, 2:] <= 0).any():
            raise ValueError(
                f"params of Crop must have positive heights and widths, got {params[:, 2:].min().item():g}"
            )
        x, y = _extent(shape)
        height, width = params[:, 2], params[:, 3]
        return _affine(
            xx=1 / width, x=x * (1 - 2 * params[:, 1]) / width, yy=1 / height, y=y * (1 - 2 * params[:, 0]) / height
        )
