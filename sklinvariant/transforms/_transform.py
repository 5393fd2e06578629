"""The base of transformations: parameters that are sampled or enumerated, and a pure function that applies them."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sklinvariant._settings import OwnSettings
from sklinvariant.base import ArrayKind, ArrayLike, Parameters, as_tensor, is_count, to_numpy, torch_generator
from sklinvariant.images import check_pixels, image_array

Generator = torch.Generator | int | np.random.RandomState | None


class Transform(OwnSettings, Parameters, BaseEstimator):
    """Base of all transformations of images.

    A subclass defines the ranges of its parameters in ``_bounds`` and transforms images in ``_apply``. It overrides
    `sample` and `orbit` if its parameters do not fill a box. A transformation has no fitted state: `apply` depends only
    on its arguments, so views are reproducible.
    """

    _default_orbit = 9
    n_steps: int | None = None  # number of elements that are sampled and enumerated; None is any

    def _bounds(self):
        """The lowest and highest value of each parameter: (p, 2)."""
        raise NotImplementedError

    def _apply(self, images, params, size=None):
        """Transform images (n, c, h, w) by parameters (n or 1, p)."""
        raise NotImplementedError

    def sample(self, n: int, generator: Generator = None) -> torch.Tensor:
        """Draw parameters at random.

        Parameters
        ----------
        n : int
            Number of draws.
        generator : torch.Generator, int, RandomState or None, default=None
            Source of random numbers; the same seed gives the same parameters.

        Returns
        -------
        torch.Tensor of shape (n, p)
            A row of float64 parameters for each image, on the CPU. Each class documents the columns.
        """
        self._validate_params()
        if self.n_steps is not None:
            steps = self.orbit()
            return steps[(uniform(n, 1, generator)[:, 0] * len(steps)).long()]
        bounds = self._bounds()
        return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * uniform(n, len(bounds), generator)

    def orbit(self, m: int | None = None) -> torch.Tensor:
        """Evenly spaced parameters.

        Parameters
        ----------
        m : int or None, default=None
            Number of elements; None is the default of the transformation.

        Returns
        -------
        torch.Tensor of shape (m, p)
            Evenly spaced if one parameter varies; a low-discrepancy (Sobol) sequence if several vary.
        """
        self._validate_params()
        bounds, m = self._bounds(), self._orbit_size(m)
        low, span = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        if (span != 0).sum() > 1:
            points = torch.quasirandom.SobolEngine(len(bounds)).fast_forward(1).draw(m, dtype=torch.float64)
        else:
            points = torch.linspace(0, 1, m, dtype=torch.float64)[:, None] if m > 1 else span.new_tensor([[0.5]])
        return low + span * points

    def apply(self, images: ArrayLike, params: ArrayLike) -> ArrayLike:
        """Transform images.

        Parameters
        ----------
        images : array or tensor of shape (n, h, w) or (n, h, w, c)
            Integers 0-255, which are scaled to floats 0-1, or floats.
        params : array or tensor of shape (n, p), (1, p) or (p,)
            A row for each image, or one for all, from `sample` or `orbit`. If p is 1, also an array of shape (n,).

        Returns
        -------
        array or tensor of the same kind
            Floats on the device of the images. Permutations of pixels keep the dtype.

        Raises
        ------
        ValueError
            If images or parameters have another shape or are not finite.
        """
        return on_images(images, lambda x: self._apply(x, self._check_params(params, len(x))))

    def __call__(self, images: ArrayLike, generator: Generator = None) -> ArrayLike:
        """Transform each image by its own randomly drawn parameters."""
        array = image_array(images)
        return self.apply(images, self.sample(len(array) if array.ndim else 0, generator))

    def _check_params(self, params, n):
        self._validate_params()
        params = as_tensor(np.asarray(to_numpy(params), dtype=np.float64))
        if params.ndim == 1:
            params = params[:, None] if self._n_params() == 1 else params[None]
        if params.ndim != 2 or params.shape[1] != self._n_params() or len(params) not in (1, n):
            raise ValueError(
                f"params must be of shape ({n}, {self._n_params()}) or (1, {self._n_params()}) for "
                f"{type(self).__name__} on {n} images, got {tuple(params.shape)}"
            )
        if not torch.isfinite(params).all():
            raise ValueError(f"params of {type(self).__name__} contain NaN or infinity. Pass finite numbers")
        return params

    def _n_params(self):
        return len(self._bounds())

    def _orbit_size(self, m):
        m = (self.n_steps or self._default_orbit) if m is None else m
        if not is_count(m):
            raise ValueError(f"m must be a positive integer, got {m!r}")
        return int(m)


def on_images(images: ArrayLike, change: Callable[[torch.Tensor], torch.Tensor]) -> ArrayLike:
    """Apply ``change`` to images as (n, c, h, w), and return the kind of array and the axes of the input."""
    kind = ArrayKind(images)
    x = check_pixels(images)
    if x.ndim not in (3, 4) or 0 in x.shape[1:]:
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, c), got {tuple(x.shape)}")
    grey = x.ndim == 3
    x = x[:, None] if grey else x.permute(0, 3, 1, 2)
    result = change(x)
    result = result[:, 0] if grey and result.shape[1] == 1 else result.permute(0, 2, 3, 1)
    return kind.wrap(result)


def uniform(n: int, p: int, generator: Generator) -> torch.Tensor:
    """(n, p) uniform float64 numbers from a torch generator or a scikit-learn ``random_state``."""
    if not is_count(n, 0):
        raise ValueError(f"n must be a non-negative integer, got {n!r}")
    if not isinstance(generator, torch.Generator):
        generator = torch_generator(generator)
    return torch.rand(n, p, generator=generator, device=generator.device, dtype=torch.float64).cpu()


def bounds_of(name: str, value: Any, *, around: float = 0.0, lowest: float = -np.inf) -> tuple[float, float]:
    """A range (low, high): the given pair, or ``around ± value`` for a single number."""
    if isinstance(value, Real):
        reach = abs(float(value))
        low, high = max(around - reach, lowest), around + reach
    else:
        low, high = value if len(value) == 2 else (np.nan, np.nan)
    if not (np.isfinite(low) and np.isfinite(high) and lowest <= low <= high):
        kind = "a number or " if lowest == -np.inf or around else ""
        least = "" if lowest == -np.inf else f", none below {lowest:g}"
        raise ValueError(f"{name} must be {kind}a pair (low, high) of finite numbers{least}, got {value!r}")
    return low, high
