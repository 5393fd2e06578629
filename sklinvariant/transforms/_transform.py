"""What a transformation is: parameters that are sampled or enumerated, and a pure function of images and parameters."""

from numbers import Real

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sklinvariant._settings import OwnSettings
from sklinvariant.base import ArrayKind, Parameters, as_tensor, is_count, to_numpy, torch_generator
from sklinvariant.images import check_pixels, image_array


class Transform(OwnSettings, Parameters, BaseEstimator):
    """Base of all transformations of images.

    A subclass names its parameters' ranges in ``_bounds`` and changes images in ``_apply``; one whose parameters do
    not fill a box overrides `sample` and `orbit`. It has no fitted state: `apply` depends on nothing but its
    arguments, so views can be made anywhere and again.
    """

    _default_orbit = 9
    n_steps: int | None = None  # a number: only that many elements are sampled and enumerated

    def _bounds(self):
        """(p, 2) lowest and highest value of each of p parameters."""
        raise NotImplementedError

    def _apply(self, images, params, size=None):
        """(n, c, h, w) floats, changed by (n or 1, p) parameters."""
        raise NotImplementedError

    def sample(self, n, generator=None):
        """Draw parameters at random.

        Parameters
        ----------
        n : int
            How many.
        generator : torch.Generator, int, RandomState or None, default=None
            Where the randomness comes from; the same generator gives the same parameters.

        Returns
        -------
        torch.Tensor of shape (n, p)
            One row of float64 parameters an image, on the CPU; each transformation names its columns.
        """
        self._validate_params()
        if self.n_steps is not None:
            steps = self.orbit()
            return steps[(uniform(n, 1, generator)[:, 0] * len(steps)).long()]
        bounds = self._bounds()
        return bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * uniform(n, len(bounds), generator)

    def orbit(self, m=None):
        """Parameters of an even discretisation.

        Parameters
        ----------
        m : int or None, default=None
            How many; None takes what is usual for the transformation.

        Returns
        -------
        torch.Tensor of shape (m, p)
            Evenly spaced where one parameter varies; a low-discrepancy (Sobol) set of points where several do.
        """
        self._validate_params()
        bounds, m = self._bounds(), self._orbit_size(m)
        low, span = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        if (span != 0).sum() > 1:
            points = torch.quasirandom.SobolEngine(len(bounds)).fast_forward(1).draw(m, dtype=torch.float64)
        else:
            points = torch.linspace(0, 1, m, dtype=torch.float64)[:, None] if m > 1 else span.new_tensor([[0.5]])
        return low + span * points

    def apply(self, images, params):
        """Change images.

        Parameters
        ----------
        images : array or tensor of shape (n, h, w) or (n, h, w, c)
            Whole numbers 0-255, which are read as floats 0-1, or floats.
        params : array or tensor of shape (n, p), (1, p) or (p,)
            A row for each image, or one for all, as `sample` and `orbit` give them.

        Returns
        -------
        array or tensor of the same kind
            Floats, on the images' device. What only moves pixels keeps the dtype.

        Raises
        ------
        ValueError
            Where images or parameters are of another shape, or not finite.
        """
        return on_images(images, lambda x: self._apply(x, self._check_params(params, len(x))))

    def __call__(self, images, generator=None):
        """Change each image by parameters of its own, drawn at random."""
        array = image_array(images)
        return self.apply(images, self.sample(len(array) if array.ndim else 0, generator))

    def _check_params(self, params, n):
        self._validate_params()
        params = as_tensor(np.asarray(to_numpy(params), dtype=np.float64))
        params = params[None] if params.ndim == 1 else params
        if params.ndim != 2 or params.shape[1] != self._n_params() or len(params) not in (1, n):
            raise ValueError(
                f"params must be of shape ({n}, {self._n_params()}) or (1, {self._n_params()}) for "
                f"{type(self).__name__} on {n} images, got {tuple(params.shape)}"
            )
        if not torch.isfinite(params).all():
            raise ValueError(f"params of {type(self).__name__} contain NaN or infinity")
        return params

    def _n_params(self):
        return len(self._bounds())

    def _orbit_size(self, m):
        m = (self.n_steps or self._default_orbit) if m is None else m
        if not is_count(m):
            raise ValueError(f"m must be a positive integer, got {m!r}")
        return int(m)


def on_images(images, change):
    """Apply ``change`` to (n, c, h, w) and give back what came in: numpy or tensor, with channels last or without."""
    container = ArrayKind(images)
    x = check_pixels(images)
    if x.ndim not in (3, 4) or 0 in x.shape[1:]:
        raise ValueError(f"images must be of shape (n, h, w) or (n, h, w, c), got {tuple(x.shape)}")
    grey = x.ndim == 3
    x = x[:, None] if grey else x.permute(0, 3, 1, 2)
    result = change(x)
    result = result[:, 0] if grey and result.shape[1] == 1 else result.permute(0, 2, 3, 1)
    return container.wrap(result)


def uniform(n, p, generator):
    """(n, p) float64 uniform numbers from a torch generator, or from one seeded as scikit-learn seeds."""
    if not is_count(n, 0):
        raise ValueError(f"n must be a whole number of draws, got {n!r}")
    if not isinstance(generator, torch.Generator):
        generator = torch_generator(generator)
    return torch.rand(n, p, generator=generator, device=generator.device, dtype=torch.float64).cpu()


def bounds_of(name, value, *, around=0.0, lowest=-np.inf):
    """A range (low, high): as given, or ``around ± value`` of a single number."""
    if isinstance(value, Real):
        low, high = max(around - abs(value), lowest), around + abs(value)
    else:
        low, high = value if len(value) == 2 else (np.nan, np.nan)
    if not (np.isfinite(low) and np.isfinite(high) and lowest <= low <= high):
        kind = "a number or " if lowest == -np.inf or around else ""
        least = "" if lowest == -np.inf else f", none below {lowest:g}"
        raise ValueError(f"{name} must be {kind}a pair (low, high) of finite numbers{least}, got {value!r}")
    return low, high
