"""Slow feature analysis: the directions of features that change least from one frame to the next.

Wiskott, Sejnowski (2002), Slow feature analysis: unsupervised learning of invariances.
"""

from __future__ import annotations

from dataclasses import KW_ONLY
from functools import partial
from typing import Annotated, Any, Self

import torch
from sklearn.base import TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from sklinvariant._compat import CallbackSupportMixin, FitReport, fit_context, with_callbacks
from sklinvariant._warnings import warn
from sklinvariant.accumulate import Blocks, measure_moments
from sklinvariant.base import (
    Affine,
    Array,
    Count,
    FittedState,
    FrameReader,
    Function,
    Maybe,
    OnDevice,
    RowFeaturesOutMixin,
    RowReader,
    ShareBelowOne,
    TorchEstimator,
    Whole,
    as_numpy,
    as_tensor,
    check_size,
    declared,
    integers,
    is_stream,
)
from sklinvariant.ops import concatenated, float64_device
from sklinvariant.pooling._clip_frames import (
    GROUPS_DOC,
    answer_frames,
    check_some_pairs,
    clip_frames,
    stream_frames,
)
from sklinvariant.pooling._held_moments import moments_of_state, moments_to_state
from sklinvariant.pooling._pair_moments import PairMoments, pair_moments

_UNITS = ("degree", "center", "scale")
_FEWEST_ROWS = 1024  # in a block
_ROUNDING = 1e-12  # a variance below this share of the mean square is rounding


def expand(rows: torch.Tensor, degree: int) -> torch.Tensor:
    """The monomials of rows (n, d) up to ``degree`` 1 or 2, without the constant, as `PolynomialFeatures` orders them.

    With degree 2, the result is of shape (n, d + d (d + 1) / 2).
    """
    if degree == 1:
        return rows
    i, j = torch.triu_indices(rows.shape[1], rows.shape[1], device=rows.device)
    return torch.cat([rows, rows[:, i] * rows[:, j]], dim=1)


def slow_directions(moments: PairMoments, tol: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The mean (d,), directions (r, d) from the slowest to the fastest, and their mean squared changes (r,).

    The last feature of the moments must be a constant 1, which gives the mean. Solves ``A w = δ C w`` for
    the covariance C of the frames and the second moments A of their changes, so that ``w·x`` has unit variance and
    ``E (w·x − w·x′)² = δ``. The rank r is the number of principal directions of the standardised features with more
    than ``tol`` times the largest variance.
    """
    second = moments.total[:-1, :-1] / moments.total[-1, -1]
    mean = moments.total[:-1, -1] / moments.total[-1, -1]
    covariance = second - mean[:, None] * mean
    variance = covariance.diagonal()
    root = torch.where(variance > _ROUNDING * second.diagonal(), variance, torch.inf).rsqrt()  # 0 for a constant
    values, vectors = torch.linalg.eigh(root[:, None] * covariance * root)
    kept = values > max(tol, _ROUNDING) * values[-1]
    whitening = root[:, None] * vectors[:, kept] * values[kept].rsqrt()  # (d, r)
    change = moments.change[:-1, :-1] / moments.n_pairs
    slowness, rotation = torch.linalg.eigh(whitening.T @ change @ whitening)
    directions = (whitening @ rotation).T
    if len(directions):  # a deterministic sign: the entry that matters most is positive
        weights = directions * variance.clamp_min(0).sqrt()
        largest = weights.gather(1, weights.abs().argmax(1, keepdim=True))
        directions = torch.where(largest < 0, -directions, directions)
    return mean, directions, slowness.clamp_min(0)


def in_other_units(moments: PairMoments, earlier: dict[str, Any], units: dict[str, Any]) -> PairMoments:
    """The moments of expanded features of ``(x - center) / scale``, from those with an earlier center and scale.

    The new features are ``a u + b`` for the earlier ones u, so that each monomial of them is a sum of the earlier ones.
    """
    scale, center = (as_tensor(units[name]).to(moments.total) for name in ("scale", "center"))
    a = as_tensor(earlier["scale"]).to(scale) / scale
    b = (as_tensor(earlier["center"]).to(center) - center) / scale
    linear = torch.arange(len(a), device=a.device)
    change = torch.zeros_like(moments.total)
    change[-1, -1] = 1
    change[linear, linear], change[linear, -1] = a, b
    if units["degree"] == 2:  # (a u + b)(a v + c) = a a u v + a c u + a b v + b c
        i, j = torch.triu_indices(len(a), len(a), device=a.device)
        products = len(a) + torch.arange(len(i), device=a.device)
        change[products, products], change[products, -1] = a[i] * a[j], b[i] * b[j]
        change[products, i] += a[i] * b[j]
        change[products, j] += a[j] * b[i]
    return PairMoments(moments.n_pairs, *(change @ part @ change.T for part in (moments.total, moments.change)))


@declared
class SlowFeatures(OnDevice, CallbackSupportMixin, RowFeaturesOutMixin, TransformerMixin, TorchEstimator):
    r"""Slow feature analysis: combinations of features that change least from one frame of a video to the next.

    The outputs z have zero mean and unit variance, are uncorrelated, and minimise the mean squared change between
    consecutive frames t and t + 1,

    .. math:: \Delta = E\left[(z_{t+1} - z_t)^2\right]

    The first output is the slowest.

    With the default ``tol``, classifiers are on average less accurate on these outputs than on as many features of
    `AutoPooling`, `SpatialPooling` or a PCA; with 0.01 they are about as accurate. Use `SlowFeatures` if you need the
    slow signals themselves.

    Parameters
    ----------
    n_components : int or None
        Number of outputs. None keeps all, as many as there are principal directions (see ``tol``).
    degree : {1, 2}
        1 combines the features themselves. 2 also combines their products, which are d (d + 1) / 2 for d features:
        reduce X to some tens of features first, for example with `PCA`.
    tol : float
        Principal directions of the standardised expanded features with at most ``tol`` times the largest variance are
        ignored, because they mostly contain noise. Raise it if the outputs of new frames change much faster than those
        of the training frames, and for hundreds of features: with 0.01, outputs for feature maps are better.

    Attributes
    ----------
    components_ : array of shape (n_components, n_expanded)
        The weight of each expanded feature in each output: ``z = (phi - mean_) @ components_.T``, where ``phi`` are
        the ``PolynomialFeatures(degree, include_bias=False)`` of ``(x - center_) / scale_``.
    mean_ : array of shape (n_expanded,)
        Mean of the expanded features over the pairs of frames.
    slowness_ : array of shape (n_components,)
        The mean squared change Δ of each output over the training pairs. 0 means that it never changes, and 2 that
        consecutive frames are not correlated. The largest possible value is 4.
    center_ : array of shape (n_features,)
        What is subtracted from X first: the mean of the frames, with `partial_fit` of those of the first call.
    scale_ : array of shape (n_features,)
        What X is then divided by: the largest deviation of each feature, with `partial_fit` in the first call.

    See Also
    --------
    AutoPooling : Pools non-negative features, and keeps the information that reconstructs them.

    Notes
    -----
    The model depends on the data only through sums over pairs of frames, so `partial_fit` is exact: how the frames are
    divided changes only rounding errors. These grow with ``degree=2`` if the frames of the first call are not typical
    of the data, because products are taken around their mean. Sums are computed in float64. A model contains two
    matrices of shape (n_expanded + 1, n_expanded + 1).

    If features are nearly collinear, the outputs that depend on their small differences are imprecise in float32. Pass
    float64, or raise ``tol``.

    References
    ----------
    Wiskott, Sejnowski (2002). Slow feature analysis: unsupervised learning of invariances. Neural Computation 14.
    Section 2.

    Examples
    --------
    A slow sine is mixed with a fast one:

    >>> import numpy as np
    >>> from sklinvariant import SlowFeatures
    >>> t = np.linspace(0, 2 * np.pi, 400)
    >>> slow, fast = np.sin(t), np.sin(23 * t)
    >>> X = np.stack([slow + fast, slow - 2 * fast], axis=1)
    >>> z = SlowFeatures(1).fit_transform(X)
    >>> print(f"{abs(np.corrcoef(z[:, 0], slow)[0, 1]):.3f}")
    1.000
    """

    _reader = FrameReader(RowReader(wide=True))
    _shared_docs = GROUPS_DOC
    _fits_in_parts = True
    _fits_streams = True
    _layout = {
        "degree": Whole(1, 2),
        "center": Array("n_features_in_"),
        "scale": Array("n_features_in_"),
        "mean": Array("d"),
        "components": Array("k", "d"),
        "slowness": Array("k"),
        "n_pairs": Whole(),
        "total": Array("d_and_constant", "d_and_constant"),
        "change": Array("d_and_constant", "d_and_constant"),
        "last_frame": Maybe(Array(None, "n_features_in_")),
    }
    n_components: Count | None = None
    _: KW_ONLY
    degree: Annotated[int, integers(1, 2)] = 1
    tol: ShareBelowOne = 1e-9

    components_ = FittedState("The weight of each expanded feature in each output, (n_components, n_expanded).")
    mean_ = FittedState("Mean of the expanded features, (n_expanded,).")
    slowness_ = FittedState("Mean squared change of each output, (n_components,).")
    center_ = FittedState("What is subtracted from X, (n_features,).")
    scale_ = FittedState("What X is then divided by, (n_features,).")

    def _check_layout(self):
        state = self._state
        n_features = _n_expanded(self.n_features_in_, state["degree"])
        if len(state["mean"]) != n_features or len(state["total"]) != n_features + 1:
            raise ValueError(
                f"mean has {len(state['mean'])} numbers and total {len(state['total'])} rows, which do not match the "
                f"{n_features} features of degree {state['degree']}. Fit again."
            )
        if not (state["scale"] > 0).all():
            raise ValueError("scale must be positive. Fit again.")

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Learn the slow features.

        Parameters
        ----------
        X : array of shape (n, n_features) or (n_pairs, 2, n_features), or iterable of such arrays
            Features of frames in temporal order, or of pairs of consecutive frames. An iterable, such as a generator,
            is read once, one array at a time. Its rows are those of one clip.

        Raises
        ------
        ValueError
            If X contains NaN or infinite values, if the rows of a clip are not consecutive (the message names the row),
            if there is no pair, if ``n_components`` is larger than the number of expanded features, or if ``groups``
            are given for an iterable.
        """
        if is_stream(X):
            return self._learn_from_stream(X, groups)
        return self._learn(X, groups, earlier=None)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Learn from more frames. The result is that of a fit to all frames so far, because their moments are added.

        If the first row has the same clip as the last row of the previous call, the two rows are a pair. Without
        ``groups``, each call is a separate clip. The first call needs at least one pair.
        """
        return self._learn(X, groups, earlier=getattr(self, "_state", None))

    def transform(self, X: Any) -> Any:
        """Compute the slow features of frames.

        Parameters
        ----------
        X : array of shape (n, n_features) or (n_pairs, 2, n_features)
            Features of frames, in any order.

        Returns
        -------
        array of shape (n, n_components) or (n_pairs, 2, n_components)
            The outputs, from the slowest to the fastest.
        """
        given = self._read(X)
        mean, components = (as_tensor(x).to(given.device, given.dtype) for x in (self.mean_, self.components_))
        features = _expansion(self._state, given.device, given.dtype)
        blocks = Blocks(given.data, device=given.device, dtype=given.dtype, size=max(_FEWEST_ROWS, len(mean)))
        answer = concatenated(((features(block) - mean) @ components.T for block in blocks), len(given.data))
        return answer_frames(self, given, answer)

    def _modules_of_methods(self, dtype):
        units = Affine(shift=self._state["center"], scale=self._state["scale"])
        expanded = Function(partial(expand, degree=self._state["degree"]))
        return {"transform": lambda: nn.Sequential(units, expanded, Affine(self.components_, shift=self.mean_))}

    def _learn(self, X, groups, earlier):
        report = FitReport(self, X, None, None, max_epochs=0)
        given = self._read(X, reset=earlier is None)
        frames = clip_frames(given, groups, earlier, type(self).__name__)
        units = self._units(self._columns(given)) if earlier is None else {name: earlier[name] for name in _UNITS}
        if units["degree"] != self.degree:
            raise ValueError(f"degree={self.degree} cannot continue a fit with degree={units['degree']}. Fit a clone")
        device = float64_device(given.device)
        parts = [] if earlier is None else [moments_of_state(earlier, False, device)]
        if frames.follows.any():
            parts.append(self._moments(units, frames, device))
        check_some_pairs(bool(parts), len(frames.rows))
        learned = self._solved(sum(parts[1:], parts[0]), given.dtype)
        self._state = {**units, **learned, **frames.kept}
        report.end(dict)  # the fitted attributes are already set
        return self

    def _learn_from_stream(self, X, groups):
        report = FitReport(self, X, None, None, max_epochs=0)
        columns: Any = None  # of all rows so far
        used: Any = None  # those that the units of the moments are from
        moments: Any = None
        for given, parts in stream_frames(self, X, groups):
            more = self._columns(given)
            columns = more if columns is None else columns + more
            if used is None or (columns.columns.reach > 2 * used.columns.reach).any():
                moments, used = self._in_units(columns, used, moments), columns
            for frames in parts:
                added = self._moments(self._units(used), frames, float64_device(given.device))
                moments = added if moments is None else moments + added
        check_some_pairs(moments is not None, round(columns.columns.mass))
        moments, units = self._in_units(columns, used, moments), self._units(columns)
        self._state = {**units, **self._solved(moments, given.dtype), **frames.kept}
        report.end(dict)
        return self

    def _in_units(self, columns, earlier, moments):
        """The moments in the units of columns instead of those of earlier ones."""
        return None if moments is None else in_other_units(moments, self._units(earlier), self._units(columns))

    def _columns(self, given):
        """Means and ranges of the features, which can be added."""
        return measure_moments(Blocks(given.data, device=given.device), axes=0)

    def _units(self, moments):
        """What is subtracted from rows, and what they are divided by, before products are taken."""
        columns = moments.columns
        scale = torch.where(columns.reach > 0, columns.reach, 1.0)
        return {"degree": self.degree, "center": as_numpy(columns.mean), "scale": as_numpy(scale)}

    def _moments(self, units, frames, device):
        """The moments of the expanded features and of a constant 1."""
        n_features = _n_expanded(frames.rows.shape[1], self.degree)
        check_size((n_features + 1) ** 2, degree=self.degree)
        expansion = _expansion(units, device, torch.float64)
        return pair_moments(
            frames.rows,
            frames.follows,
            device=device,
            dtype=torch.float64,
            chunk_size=max(_FEWEST_ROWS, n_features),
            features=lambda rows: torch.cat([expansion(rows), rows.new_ones(len(rows), 1)], dim=1),
        )

    def _solved(self, moments, dtype):
        """The fitted state: what is learned from the moments, and the moments themselves."""
        n_features = len(moments.total) - 1
        if self.n_components is not None and self.n_components > n_features:
            raise ValueError(
                f"n_components={self.n_components} is more than the {n_features} features that degree={self.degree} "
                f"gives for {self.n_features_in_} features of X. Lower n_components"
            )
        mean, directions, slowness = slow_directions(moments, self.tol)
        if not len(directions):
            warn(
                f"{type(self).__name__}: all features are constant, so the only output is 0",
                ConvergenceWarning,
            )
            directions, slowness = torch.zeros_like(mean)[None], mean.new_zeros(1)
        elif self.n_components is not None and len(directions) < self.n_components:
            warn(
                f"{type(self).__name__}: n_components={self.n_components}, but only {len(directions)} principal "
                f"directions have more than tol={self.tol:g} times the largest variance, which give as many outputs",
            )
        learned = {
            "mean": mean,
            "components": directions[: self.n_components],
            "slowness": slowness[: self.n_components],
        }
        return {name: as_numpy(x.to(dtype).contiguous()) for name, x in learned.items()} | moments_to_state(moments)

    @property
    def _n_features_out(self):
        return len(self.components_)


def _n_expanded(d, degree):
    return d if degree == 1 else d + d * (d + 1) // 2


def _expansion(units, device, dtype):
    """The function from rows to expanded features."""
    center, scale = (as_tensor(units[name]).to(device, dtype) for name in ("center", "scale"))
    return lambda rows: expand((rows - center) / scale, units["degree"])
