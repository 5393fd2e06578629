"""Compositions of transformations, in which consecutive geometric ones are applied as one matrix."""

from __future__ import annotations

import itertools
from dataclasses import KW_ONLY
from typing import Any, Literal

import torch

from sklinvariant.base import FiniteArray, declared, torch_generator
from sklinvariant.transforms._geometric import Geometric, warp_tensor, with_default_sampling
from sklinvariant.transforms._transform import Generator, Transform


@declared
class Compose(Geometric):
    """Apply transformations in order. Its parameters are the concatenated parameters of the transformations.

    The matrices of consecutive geometric transformations are multiplied, so that an image is interpolated only once.
    Other transformations are applied to the result of the previous ones.

    Parameters
    ----------
    transforms : sequence of Transform
        The transformations, in the order of application.
    fill : {"mean", "edge", "reflect"}, float, sequence or None
        Values outside an image, for all transformations: its mean pixel, its border, its reflection, or a number for
        all channels or for each channel (0-1). None uses their own fill, which must agree within a chain of geometric
        transformations (`Flip` and `Crop` have none and use that of the others).
    interpolation : {"bilinear", "bicubic", "nearest"} or None
        Interpolation between pixels, for all transformations; None uses their own.

    Examples
    --------
    >>> from sklinvariant.transforms import ColorJitter, Compose, Flip, Rotation
    >>> views = Compose([Rotation(15, fill="edge"), Flip(), ColorJitter()], fill="edge")
    >>> views.sample(4, 0).shape
    torch.Size([4, 8])
    """

    transforms: list | tuple
    _: KW_ONLY
    fill: Literal["mean", "edge", "reflect"] | FiniteArray | None = None
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None

    def sample(self, n: int, generator: Generator = None) -> torch.Tensor:
        """Draw the parameters of all transformations from one generator."""
        self._check()
        if not isinstance(generator, torch.Generator):
            generator = torch_generator(generator)
        parts = [transform.sample(n, generator) for transform in self.transforms]
        return torch.cat([torch.empty(n, 0, dtype=torch.float64), *parts], dim=1)

    def orbit(self, m: Any = None) -> torch.Tensor:
        """The product of the orbits, in which the last transformation varies fastest.

        Parameters
        ----------
        m : sequence of (int or None) or None, default=None
            Size of the orbit of each transformation; None is its default.

        Returns
        -------
        torch.Tensor of shape (m_1 ⋯ m_g, p)
        """
        self._check()
        sizes = [None] * len(self.transforms) if m is None else m
        if not hasattr(sizes, "__len__") or len(sizes) != len(self.transforms):
            raise ValueError(f"m must be None or hold a size for each of {len(self.transforms)} transforms, got {m!r}")
        rows = torch.empty(1, 0, dtype=torch.float64)
        for transform, size in zip(self.transforms, sizes, strict=True):
            orbit = transform.orbit(size)
            rows = torch.cat([rows.repeat_interleave(len(orbit), 0), orbit.repeat(len(rows), 1)], dim=1)
        return rows

    def _matrices(self, params, shape):
        self._check()
        if not _is_geometric(self):
            raise ValueError(
                "this Compose has transforms that are not geometric, but matrices and an inverse exist only for "
                "geometric ones. Remove the others"
            )
        matrices = torch.eye(3, dtype=torch.float64).expand(len(params), 3, 3)
        for transform, part in self._parts(params):
            matrices = transform._matrices(part, shape) @ matrices
        return matrices

    def _sampling(self):
        """The common interpolation and fill of a geometric composition."""
        looks = [transform._sampling() for transform in self.transforms]
        return self._common("interpolation", 0, looks), self._common("fill", 1, looks)

    def _apply(self, images, params, size=None):
        self._check()
        for geometric, run in itertools.groupby(self._parts(params), lambda part: _is_geometric(part[0])):
            if geometric:
                transforms, rows = zip(*run, strict=True)
                chain = Compose(transforms, fill=self.fill, interpolation=self.interpolation)
                matrices = chain._matrices(torch.cat(rows, dim=1), tuple(images.shape[-2:]))
                images, size = warp_tensor(images, matrices, size, *with_default_sampling(chain._sampling())), None
            else:
                for transform, rows in run:
                    images = transform._apply(images, rows)
        if size is not None:  # no geometric transformation: resize only
            images = warp_tensor(images, torch.eye(3, dtype=torch.float64)[None], size, "bilinear", "edge")
        return images

    def _parts(self, params):
        """Each transformation and its columns of the parameters."""
        return zip(self.transforms, params.split([t._n_params() for t in self.transforms], dim=1), strict=True)

    def _common(self, name, i, looks):
        own = getattr(self, name)
        if own is not None:
            return own
        found = {repr(look[i]): look[i] for look in looks if look[i] is not None}
        if len(found) > 1:
            raise ValueError(
                f"consecutive geometric transforms need the same {name}, but theirs differ: {', '.join(found)}. Pass "
                f"{name}= "
                "to Compose"
            )
        return next(iter(found.values()), None)

    def _check(self):
        self._validate_params()
        for i, transform in enumerate(self.transforms):
            if not isinstance(transform, Transform):
                raise ValueError(f"transforms[{i}] must be a Transform, got {type(transform).__name__}")

    def _n_params(self):
        return sum(transform._n_params() for transform in self.transforms)


def _is_geometric(transform):
    """Whether a transformation, or each part of a composition, only moves points."""
    if isinstance(transform, Compose):
        return all(map(_is_geometric, transform.transforms))
    return isinstance(transform, Geometric)


def moves(transform: Transform, params: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The matrices of the geometric part of a transformation.

    Parameters
    ----------
    transform : Transform
        The transformation.
    params : tensor of shape (n, p)
        Its parameters, from `Transform.sample` or `Transform.orbit`.
    shape : (int, int)
        Height and width of the images.

    Returns
    -------
    tensor of shape (n, 3, 3)
        Float64. The identity if the transformation only changes values.
    """
    if isinstance(transform, Compose):
        matrices = torch.eye(3, dtype=torch.float64).expand(len(params), 3, 3)
        for part, columns in transform._parts(params):
            matrices = moves(part, columns, shape) @ matrices
        return matrices
    if isinstance(transform, Geometric):
        return transform._matrices(params, shape)
    return torch.eye(3, dtype=torch.float64).expand(len(params), 3, 3)
