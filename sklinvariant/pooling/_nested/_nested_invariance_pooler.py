"""Nested invariance pooling: moments of features over nested groups of transformations of an image.

Morère et al. 2016, "Nested invariance pooling and RBM hashing for image instance retrieval", equations 1-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklinvariant._compat import CallbackSupportMixin, HasMethods, fit_context, reports_fit
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import (
    Array,
    Count,
    Each,
    FiniteArray,
    FittedState,
    Maybe,
    OnDevice,
    RowReader,
    Side,
    TorchEstimator,
    Verbose,
    Whole,
    as_numpy,
    as_tensor,
    check_finite_answer,
    declared,
    is_count,
    is_fitted,
    progress_bar,
)
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.images import StreamReader, scale_pixels
from sklinvariant.ops import Resampler, concatenated
from sklinvariant.pooling._nested._feature_weights import feature_weights, spread_stages
from sklinvariant.pooling._nested._nested_module import NestedPooling, OrbitPooling, finished
from sklinvariant.pooling._nested._nested_moments import ON_MAPS, nested_moments, orbit_moments, parse_stages
from sklinvariant.transforms import Compose, Rotation, Scale, Transform

_MOST_TO_FIT = 1000  # largest number of images on which a backbone or weights are fitted
_ORBITS = {"n_rotations": 12, "n_scales": 2}  # of fits by this version
_EARLIER_ORBITS = {"n_rotations": 36, "n_scales": 10}  # of models saved by earlier versions


def _views(images, view, params, encode, batch_size, bar=None):
    """The feature maps of all images for each element of the orbit in turn, computed in batches of elements."""
    n = len(images)
    for block in params.split(max(1, batch_size // n)):
        if len(block) == 1:
            seen = encode(view._apply(images, block))
        else:
            seen = encode(view._apply(images.repeat(len(block), 1, 1, 1), block.repeat_interleave(n, 0)))
        if bar is not None:
            bar.update(len(block) * n)
        yield from seen.split(n)


def _maps_of(bags, n, device):
    """Feature maps (n, rows, columns, d), also from bags of equal size, which become square maps if possible."""
    if not isinstance(bags, DescriptorSets) and getattr(bags, "ndim", 0) == 4:
        return as_tensor(bags).to(device)
    sizes = np.diff(np.asarray(bags.offsets))
    if len(np.unique(sizes)) != 1:
        raise ValueError(
            "backbone returns bags of different sizes, but pooling requires the same number of cells for each image. "
            "Use another backbone."
        )
    side = math.isqrt(int(sizes[0]))
    rows = side if side * side == sizes[0] else 1
    return as_tensor(bags.values).to(device).reshape(n, rows, -1, bags.values.shape[1])


class OrbitReader(RowReader):
    """Reads activations (n, m_1, …, m_g, d), or flat rows that ``orbit_shape`` reshapes (None: one view each)."""

    needs = "activations as an array"
    three_d_array = True

    def _check(self, estimator, X, kind, reset):
        n_groups, shape = len(estimator.stages), tuple(getattr(X, "shape", (0, 0)))
        if len(shape) > 2 and (len(shape) != n_groups + 2 or 0 in shape):
            maps = n_groups == 1 and len(shape) == 4
            advice = "Pass feature maps (n, h, w, f) as X.reshape(n, h * w, f)" if maps else "Reshape X"
            raise ValueError(
                f"X has shape {shape}, but activations of shape "
                f"(n, {', '.join(f'm_{i + 1}' for i in range(n_groups))}, f), with a non-empty axis for each of "
                f"{n_groups} stages, are required. {advice}, or change stages."
            )
        given = super()._check(estimator, X if len(shape) <= 2 else X.reshape(shape[0], -1), kind, reset)
        if len(shape) <= 2:
            n_features = given.data.shape[1]
            views = (1,) * n_groups if estimator.orbit_shape is None else tuple(estimator.orbit_shape)
            sizes = all(map(is_count, views))
            if not sizes or len(views) != n_groups or n_features % math.prod(views):
                raise ValueError(
                    f"orbit_shape={estimator.orbit_shape} does not match {n_groups} stages and rows of {n_features} "
                    "features. Pass one size for each stage, whose product divides the number of features."
                )
            shape = (len(given.data), *views, -1)
        given.data = given.data.reshape(shape)
        return given


_IMAGES, _ACTIVATIONS = StreamReader(), OrbitReader()


@declared
class NestedInvariancePooler(OnDevice, CallbackSupportMixin, TransformerMixin, TorchEstimator):
    r"""Features that are invariant to rotation, scale and translation of an image: nested moments over its orbits.

    The backbone computes features f of each view :math:`g x` of an image x. A stage pools the m views of one group to
    their moment of order n (equation 2),

    .. math:: \left(\frac{1}{m} \sum_{j=1}^m f(g_j x)^n\right)^{1/n}

    and the next stage pools the results over another group (equation 4). Views are computed and accumulated in batches,
    so memory does not grow with the orbit.

    Parameters
    ----------
    backbone : torch.nn.Module, callable, str, transformer or None
        Extractor of the features of a view. A module, callable or name is passed to
        :class:`~sklinvariant.feature_extraction.BackbonePatches`; construct it yourself to set a layer, weights or the
        scaling of pixels. Any transformer from images to feature maps or bags of cells is accepted, such as
        :class:`~sklinvariant.feature_extraction.ConvolutionalFeatures` or a Pipeline. It is fitted on the untransformed
        images unless it already is fitted. With None, X contains precomputed activations.
    stages : sequence of (group, order) or (group, order, "l2")
        The groups, innermost first, and the order of the moment: 1 is the mean, inf the maximum, and any number between
        is accepted. A sequence of orders concatenates several moments. "translation" pools the cells of the feature
        map; without it the cells are concatenated in the output. "region", after "translation", pools the regions of
        R-MAC. "l2" normalises the output of the stage to length 1. The default retrieves photographs better than the
        sequence that did best in the paper, ``(("scale", 1), ("translation", 2), ("rotation", np.inf))``.
    transforms : dict of str to Transform or None
        Orbits of named groups, which extend or replace ``{"rotation": Rotation(n_steps=12),
        "scale": Scale(n_steps=2)}``: 12 rotations of 30°, and centre crops of 50 and 100 %. Computing time is
        proportional to the number of elements. The paper's orbits of 36 rotations and 10 scales are ``{"rotation":
        Rotation(), "scale": Scale()}``. The ``fill`` below replaces that of the transforms, and interpolation is
        bilinear.
    moments : {"mean", "printed"}
        "mean" divides by m inside the root, so that the moment does not depend on how finely the orbit is sampled;
        "printed" divides outside the root, as in equation 2. They differ by a factor common to all images, which
        ``normalize`` removes if each stage has one order.
    feature_weights : {"equal", "invariance"}
        "invariance" multiplies each feature by the share of its variance over all views that is between images, not
        between the views of an image. `fit` learns these weights without labels from at least 2 images, and takes as
        long as `transform` of these. Of images it uses at most 1,000, of activations all. The stages "translation" and
        "region" must come first. On most sets of photographs the weights improve retrieval if `fit` sees the database.
    normalize : bool
        Normalise each output vector to length 1.
    region_levels : int
        Number of region sizes: 1 is the whole map, each further level adds smaller regions.
    image_size : int or None
        Fit each image, uncropped, into a square of this many pixels, and fill the rest. Required if images differ in
        size.
    fill : {"mean", "edge", "reflect"}, float or sequence
        Values outside the image: its own mean pixel, its border, its mirror image, or a value (0-1). The paper uses the
        mean pixel of all images.
    on_error : {"raise", "nan"}
        Action for image files that cannot be read: raise an error that names the file, or return a row of NaN and list
        all such files in a warning at the end.
    batch_size : int
        Number of views processed at a time. Larger is faster on a GPU, but takes more memory.
    orbit_shape : tuple or None
        ``(m_1, …, m_g)`` of activations passed as flat rows; None treats a row as an orbit of one view.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of images passed as flat rows.
    verbose : int
        1 shows a progress bar of the views.

    Attributes
    ----------
    backbone_ : transformer
        The fitted backbone, or None.
    n_features_out_ : int
        Length of an output vector.
    feature_weights_ : array of shape (n_features_out,) or None
        Weights of the features, 0 to 1, or None with ``feature_weights="equal"``.
    pixel_range_ : list of two floats
        The lowest and the highest pixel in `fit`, including 0 and 1; not for activations.

    See Also
    --------
    sklinvariant.autoencoder.EquivariantAutoencoder : Learns invariant features of images.
    sklinvariant.autoencoder.CanonicalRotation : Rotates images into a canonical pose.

    Notes
    -----
    Equation 2 is for non-negative activations, as after ReLU. Equation 1 takes absolute values, and so do the orders
    between 1 and inf here; orders 1 and inf keep signs. As in equation 4, the innermost group acts on the image first
    and the outermost last; scales and rotations about a common centre commute.

    Special cases: SPoC is ``stages=[("translation", 1)]``, MAC ``[("translation", inf)]``, GeM ``[("translation",
    p)]``, R-MAC ``[("translation", inf, "l2"), ("region", 1)]``. Centring and whitening are steps of a Pipeline:
    ``make_pipeline(pooler, StandardScaler(with_std=False), Normalizer())``.

    References
    ----------
    Morère, Lin, Veillard, Chandrasekhar, Poggio (2016). Nested Invariance Pooling and RBM Hashing for Image Instance
    Retrieval. Equations 1-4, table 1.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant import NestedInvariancePooler
    >>> from sklinvariant.transforms import Rotation
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3), torch.nn.ReLU())
    >>> images = np.random.default_rng(0).random((4, 12, 12))
    >>> pooler = NestedInvariancePooler(
    ...     network, stages=[("translation", 2), ("rotation", np.inf)], transforms={"rotation": Rotation(n_steps=4)}
    ... )
    >>> features = pooler.fit_transform(images)
    >>> features.shape
    (4, 6)
    >>> bool(np.allclose(pooler.transform(np.rot90(images, axes=(1, 2))), features, atol=1e-4))
    True
    """

    _layout = {
        "orbit_shape": Maybe(Each(Whole())),
        "n_channels": Maybe(Whole()),
        "n_rotations": Maybe(Whole(1, 1000)),
        "n_scales": Maybe(Whole(1, 1000)),
        "size": Maybe(Each(Whole(), 2)),  # files of earlier versions have none
        "feature_weights": Maybe(Array("n_features_out_")),
    }
    feature_weights_ = FittedState("Weights of the features, (n_features_out_,), or None.")
    backbone: nn.Module | str | Annotated[Any, HasMethods(["fit", "transform"])] | Callable | None = None
    _: KW_ONLY
    stages: list | tuple = (("translation", np.inf), ("scale", 2), ("rotation", 1))
    transforms: dict | None = None
    moments: Literal["mean", "printed"] = "mean"
    feature_weights: Literal["equal", "invariance"] = "equal"
    normalize: bool = True
    region_levels: Count = 3
    image_size: Side | None = None
    fill: Literal["mean", "edge", "reflect"] | FiniteArray = "mean"
    on_error: Literal["raise", "nan"] = "raise"
    batch_size: Count = 32
    orbit_shape: tuple | list | None = None
    image_shape: tuple | list | None = None
    verbose: Verbose = 0

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, fit the backbone unless it is fitted, and learn the weights of features if requested.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), list of (h, w[, c]), list of file names, or activations \
(n, m_1, …, m_g, f)
            Images: integers 0-255 (scaled to 0-1) or floats. Files and images of different sizes require
            ``image_size``. Without a backbone: activations, with one axis for the group of each stage, in the order of
            the stages.
        y : array-like of shape (n,) or None, default=None
            Targets for the backbone, otherwise ignored.

        Raises
        ------
        ValueError
            If stages and transforms do not match, if an image is not valid (the message names the image or the file),
            if X contains NaN, or if the images differ too little to learn weights of features.
        """
        if self.backbone is None:
            stages = parse_stages(self.stages)
            given = self._read(X, reset=True)
            self.backbone_ = None
            self._state = {"orbit_shape": list(given.data.shape[1:]), "namespace": given.kind.name}
            self.n_features_out_ = orbit_moments(stages, given.data[:1].to(given.dtype)).shape[1]
            spread = partial(orbit_moments, spread_stages(stages))
            self._learn_weights(map(spread, self._orbits(given)), stages)
            return self
        stages = parse_stages(self.stages, {*self._groups(), *ON_MAPS})
        given = self._read(X, reset=True)
        source = given.data
        _, first = next(source.batches(1), (None, None))
        if first is None:
            raise ValueError(
                f"none of {len(source)} images could be read, but at least one is required: {source.failed[0][1]}"
            )
        self._state = {"n_channels": first.shape[-1], "size": list(first.shape[1:3]), **_ORBITS}
        self.backbone_ = self._fitted_backbone(source, first, y)
        encode = self._feature_extractor(given.device)
        one_view = [stage for stage in stages if stage[0] in ON_MAPS]
        with torch.no_grad():
            width = self._moments_of_images(first.to(given.device), one_view, encode).flatten(1).shape[1]
        self.n_features_out_ = width * math.prod(len(orders) for group, orders, _ in stages if group not in ON_MAPS)
        spread = self._moments_of_stream(source.some(_MOST_TO_FIT), spread_stages(stages), encode, given.device)
        self._learn_weights((pooled for _, pooled in spread), stages)
        return self

    def transform(self, X: Any) -> Any:
        """Pool the views of each image.

        Returns
        -------
        array or tensor of shape (n, n_features_out)
            Pooled features: float32 for images, the dtype of X for activations.
        """
        if self.backbone is None:
            stages = parse_stages(self.stages)
            given = self._read(X)
            printed = self.moments == "printed"
            pooled = (self._finished(orbit_moments(stages, part, printed)) for part in self._orbits(given))
            return given.answer(concatenated(pooled, len(given.data)))
        stages = parse_stages(self.stages, {*self._groups(), *ON_MAPS})
        given = self._read(X)
        source = given.data
        encode, answer = self._feature_extractor(given.device), None
        for rows, moments in self._moments_of_stream(source, stages, encode, given.device, self.moments == "printed"):
            pooled = self._finished(moments.flatten(1))
            check_finite_answer(self, "transform", pooled)  # rows of unreadable files become NaN later
            if answer is None:
                answer = pooled.new_full((len(source), pooled.shape[1]), torch.nan)
            answer[rows] = pooled
        if source is not X:
            source.warn_of_failures(type(self).__name__)
        if answer is None:
            answer = torch.full((len(source), self.n_features_out_), torch.nan, dtype=torch.float32)
        return given.answer(answer)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the output features.

        Returns
        -------
        ndarray of ``n_features_out_`` str
        """
        check_is_fitted(self)
        names = [f"{type(self).__name__.lower()}{i}" for i in range(self.n_features_out_)]
        return np.asarray(names, dtype=object)

    @property
    def _reader(self):
        return _ACTIVATIONS if self.backbone is None else _IMAGES

    def _groups(self):
        own = self.transforms or {}
        for name, transform in own.items():
            if name in ON_MAPS or not isinstance(name, str) or not isinstance(transform, Transform):
                raise ValueError(
                    f"transforms contains {name!r}: {transform!r:.200}, but a Transform of sklinvariant.transforms, "
                    f"whose orbit can be listed, is required for each name other than {ON_MAPS}. Change this entry."
                )
        sizes = _EARLIER_ORBITS | getattr(self, "_state", _ORBITS)
        return {"rotation": Rotation(n_steps=sizes["n_rotations"]), "scale": Scale(n_steps=sizes["n_scales"]), **own}

    def _fitted_backbone(self, source, first, y):
        backbone = self.backbone
        if not hasattr(backbone, "transform"):
            backbone = BackbonePatches(backbone, device=self.device)
        if is_fitted(backbone):
            return backbone
        backbone = clone(backbone)
        if isinstance(backbone, BackbonePatches):
            return backbone.fit(first)
        some = source.some(_MOST_TO_FIT)
        rows, images = next(some.batches(len(some)))
        return backbone.fit(images.cpu().numpy(), None if y is None else np.asarray(y)[some.rows][rows])

    def _feature_extractor(self, device):
        """The backbone as a function from views (n, c, h, w) to maps (n, rows, columns, d)."""
        backbone: Any = self.backbone_
        if hasattr(backbone, "feature_maps"):  # a method that accepts views of any size without checks
            run = backbone.feature_maps(device)
            return lambda views: run(views.permute(0, 2, 3, 1))
        return lambda views: _maps_of(backbone.transform(views.permute(0, 2, 3, 1)), len(views), device)

    def _moments_of_stream(self, source, stages, encode, device, printed=False):
        """Yield the rows of each batch of images, and `_moments_of_images`, and show their progress."""
        n_views = math.prod(len(self._groups()[group].orbit()) for group, _, _ in stages if group not in ON_MAPS)
        with progress_bar(type(self).__name__, len(source) * n_views, "view", verbose=self.verbose) as bar:
            for rows, images in source.batches(self.batch_size):
                yield rows, self._moments_of_images(images.to(device), stages, encode, printed, bar)

    def _moments_of_images(self, images, stages, encode, printed=False, bar=None):
        """(n, h, w, c) images -> (n, ..., features), whose further axes are those of cells that were not pooled."""
        view, params, sizes = self._orbit(stages)
        maps = _views(scale_pixels(images).permute(0, 3, 1, 2).contiguous(), view, params, encode, self.batch_size, bar)
        return self._moments_of_views(stages, sizes, printed)(lambda: next(maps))

    @torch.no_grad()
    def _learn_weights(self, parts, stages):
        """Set the weights of the features. ``parts``, pooled with `spread_stages`, are computed only if needed."""
        learned = self.feature_weights == "invariance"
        self._state["feature_weights"] = as_numpy(feature_weights(parts, stages)) if learned else None

    def _orbits(self, given):
        """Batches of activations (n, m_1, …, m_g, d) on the device."""
        return (part.to(given.device, given.dtype) for part in given.data.split(self.batch_size))

    def _finished(self, pooled):
        weights = self._weights(pooled)
        if weights is not None and len(weights) != pooled.shape[1]:
            raise ValueError(
                f"`fit` learned weights of {len(weights)} features, but the stages now give {pooled.shape[1]}. Fit "
                "again"
            )
        return finished(pooled, weights, normalize=self.normalize)

    def _adapt_earlier(self):
        if hasattr(self, "_state"):  # which may be from before there was ``feature_weights_``
            self._state = {"feature_weights": None, **self._state}

    def _weights(self, like):
        """The weights of the features, on the device and in the precision of the tensor ``like``, or None."""
        weights = self._state.get("feature_weights")
        return None if weights is None else as_tensor(weights).to(like)

    def _orbit(self, stages):
        """The composition of all groups, the parameters of all views, and the size of each group."""
        names = [group for group, _, _ in stages if group not in ON_MAPS]
        transforms = [self._groups()[name] for name in names]
        view = Compose(transforms, fill=self.fill, interpolation="bilinear")
        sizes = [len(transform.orbit()) for transform in transforms]
        rows = np.arange(math.prod(sizes)).reshape(sizes).T.ravel()
        return view, view.orbit()[rows], dict(zip(names, sizes, strict=True))  # the outermost group varies slowest

    def _moments_of_views(self, stages, sizes, printed):
        """`nested_moments` as a function of ``next_map``."""
        levels = self.region_levels if any(group == "region" for group, _, _ in stages) else None
        return partial(nested_moments, stages, sizes=sizes, region_levels=levels, printed=printed)

    def _modules_of_methods(self, dtype):
        return {"transform": partial(self._pooling_module, dtype)}

    def _pooling_module(self, dtype):
        weights = self._weights(torch.empty(0, dtype=dtype))
        if self.backbone is None:
            pool = partial(orbit_moments, parse_stages(self.stages), printed=self.moments == "printed")
            return OrbitPooling(pool, weights, normalize=self.normalize)
        backbone: Any = self.backbone_
        size = self._state.get("size")
        if not hasattr(backbone, "_map_module") or size is None:
            raise ValueError(
                f"backbone={type(backbone).__name__} cannot be converted to a torch module, or the pooler was fitted "
                "by an earlier version. Fit a pooler with a torch module or ConvolutionalFeatures as backbone."
            )
        stages = parse_stages(self.stages, {*self._groups(), *ON_MAPS})
        view, params, sizes = self._orbit(stages)
        if self.fill not in ("mean", "edge", "reflect"):
            raise ValueError(f'fill={self.fill!r} cannot be exported. Set fill to "mean", "edge" or "reflect".')
        views = Resampler(view._matrices(params, tuple(size)), tuple(size), "bilinear", self.fill)
        pool = self._moments_of_views(stages, sizes, self.moments == "printed")
        return NestedPooling(backbone._map_module(), views, pool, weights, normalize=self.normalize)
