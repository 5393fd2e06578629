"""One vector for all views of an image: moments over groups of transformations, one group inside the other.

Morère et al. 2016, "Nested invariance pooling and RBM hashing for image instance retrieval", equations 1-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from torch import nn
from tqdm import tqdm

from sklinvariant._compat import CallbackSupportMixin, HasMethods, fit_context, reports_fit
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import (
    ArrayKind,
    Count,
    Each,
    FiniteArray,
    Maybe,
    OnDevice,
    Side,
    Verbose,
    Whole,
    as_tensor,
    check_finite_answer,
    check_rows,
    declared,
    is_count,
    keeps_state_on_failure,
    refuse_bags,
    resolve_device,
)
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.images import ImageEstimator, ImageStream, scale_pixels
from sklinvariant.ops import Moment, moment, unit_length
from sklinvariant.pooling._regions import region_grid
from sklinvariant.transforms import Compose, Rotation, Scale, Transform

Stage = tuple[str, tuple[float, ...], bool]  # group, orders of its moments, whether the result is normalized
_MOST_TO_FIT = 1000  # images that a backbone is fitted on
_ON_MAPS = ("translation", "region")  # groups whose orbit lies in the feature map


def nested_moments(
    stages: Sequence[Stage],
    next_map: Callable[[], torch.Tensor],
    sizes: dict[str, int],
    region_levels: int | None = None,
    printed: bool = False,
) -> torch.Tensor:
    """Equation 4 for a batch: the moments of each stage's group over what the stage inside it gives.

    ``stages`` are (group, orders, normalized), the innermost first; ``next_map()`` gives the feature maps
    (n, h, w, d) of the next view, of which the outermost group's change slowest; ``sizes`` are the groups' numbers
    of views; ``region_levels`` those of `region_grid`, where a stage pools regions.
    """
    if not stages:
        return next_map()
    *inside, (group, orders, normalized) = stages

    def below():
        return nested_moments(inside, next_map, sizes, region_levels, printed)

    if group == "translation":
        maps = below()
        parts = [maps]
        if region_levels is not None:
            boxes = region_grid(*maps.shape[1:3], region_levels).tolist()
            parts = [maps[:, top:bottom, left:right] for top, bottom, left, right in boxes]
        pooled = [torch.cat([moment(x.flatten(1, 2), n, 1, printed) for n in orders], dim=-1) for x in parts]
        result = pooled[0] if region_levels is None else torch.stack(pooled, dim=1)  # (n, d) or (n, r, d)
    elif group == "region":
        regions = below()
        result = torch.cat([moment(regions, n, 1, printed) for n in orders], dim=-1)
    else:
        moments = [Moment(n, printed) for n in orders]
        for _ in range(sizes[group]):
            x = below()
            for one in moments:
                one.add(x)
        result = torch.cat([one.result() for one in moments], dim=-1)
    return unit_length(result) if normalized else result


def orbit_moments(stages: Sequence[Stage], orbits: torch.Tensor, printed: bool = False) -> torch.Tensor:
    """The same of ready-made activations (n, m_1, …, m_g, d), the innermost group's axis first."""
    for _, orders, normalized in stages:
        orbits = torch.cat([moment(orbits, n, 1, printed) for n in orders], dim=-1)
        orbits = unit_length(orbits) if normalized else orbits
    return orbits


def parse_stages(stages: Sequence[Any], known: Collection[str] | None = None) -> list[Stage]:
    """Stages as a list of (group, tuple of orders, normalized); ``known`` are the names that a group may have."""
    parsed = []
    for stage in stages:
        try:
            group, orders, *rest = stage
            orders = tuple(float(n) for n in np.atleast_1d(orders))
        except (TypeError, ValueError) as error:
            raise ValueError(f'each of stages must be (group, order) or (group, order, "l2"), got {stage!r}') from error
        if not isinstance(group, str) or rest not in ([], ["l2"]) or not orders or not all(n >= 1 for n in orders):
            raise ValueError(
                'each of stages must be (group, order) or (group, order, "l2") with orders of at least 1, '
                f"got {stage!r}"
            )
        if known is not None and group not in known:
            raise ValueError(f"stages: there is no group {group!r}; transforms has {sorted(known)}")
        parsed.append((group, orders, bool(rest)))
    groups = [group for group, _, _ in parsed]
    if len(set(groups)) < len(groups):
        raise ValueError(f"stages: each group may be pooled once, got {groups}")
    if known is not None and "region" in groups and "translation" not in groups[: groups.index("region")]:
        raise ValueError('stages: "region" needs "translation" before it, which pools the cells of each region')
    return parsed


def _views(images, view, params, see, batch_size, bar=None):
    """The maps of all images under one element of the orbit after the other, seen in batches of several."""
    n = len(images)
    for block in params.split(max(1, batch_size // n)):
        if len(block) == 1:
            seen = see(view._apply(images, block))
        else:
            seen = see(view._apply(images.repeat(len(block), 1, 1, 1), block.repeat_interleave(n, 0)))
        if bar is not None:
            bar.update(len(block) * n)
        yield from seen.split(n)


def _maps_of(bags, n, device):
    """Feature maps (n, rows, columns, d), or bags of equally many cells: square maps where the number allows it."""
    if not isinstance(bags, DescriptorSets) and getattr(bags, "ndim", 0) == 4:
        return as_tensor(bags).to(device)
    sizes = np.diff(np.asarray(bags.offsets))
    if len(np.unique(sizes)) != 1:
        raise ValueError("the backbone gives bags of different sizes; pooling needs as many cells of each image")
    side = math.isqrt(int(sizes[0]))
    rows = side if side * side == sizes[0] else 1
    return as_tensor(bags.values).to(device).reshape(n, rows, -1, bags.values.shape[1])


@declared
class NestedInvariancePooler(OnDevice, CallbackSupportMixin, TransformerMixin, ImageEstimator):
    """Features that stay the same when an image is rotated, scaled or moved: nested moments over its orbits.

    A view ``g.x`` of an image goes through the backbone; a stage pools over the views of one group the moment of
    order n, ``(1/m Σ_j f(g_j.x)ⁿ)^(1/n)``, and the next stage pools over another group what the first one gave
    (equation 4). Views are made, seen and added up in batches, so memory does not grow with the orbit.

    Parameters
    ----------
    backbone : torch.nn.Module, callable, str, transformer or None
        What sees a view. A module, callable or name is given to
        :class:`~sklinvariant.feature_extraction.BackbonePatches`, which has parameters for a layer, weights and the
        scaling of pixels: make one yourself to set them. Any transformer of images to feature maps or bags of cells
        will do, such as :class:`~sklinvariant.feature_extraction.ConvolutionalFeatures`, and a Pipeline too; one that
        is fitted is taken as it is, others are fitted on the images as they are. None: X holds ready-made activations.
    stages : sequence of (group, order) or (group, order, "l2")
        The groups, the innermost first, and the order of the moment: 1 is the mean, inf the maximum, or any number
        between; a sequence of orders keeps several moments side by side. Orders that rise from stage to stage did
        best in the paper, whose best is the default. "translation" pools the cells of the feature map; without it the
        cells stand side by side in the answer. "region", after it, pools the regions of R-MAC. "l2" scales what the
        stage gives to length 1.
    transforms : dict of str to Transform or None
        The orbits of groups, in addition to, or in the place of, ``{"rotation": Rotation(), "scale": Scale()}``:
        36 rotations of 10° and 10 centre crops of 50 to 100 %. Groups of your own get their names here. Fewer
        elements are faster in proportion. The ``fill`` below stands in the place of theirs, and look-ups are bilinear.
    moments : {"mean", "printed"}
        "mean" divides by m inside the root, so that the moment does not depend on how finely the orbit is sampled;
        "printed" outside, as equation 2 stands. They differ by a factor that all images share, which ``normalize``
        takes away wherever a stage has one order.
    normalize : bool
        Scale each answer to length 1.
    region_levels : int
        Sizes of regions: 1 is the whole map, each further level has smaller ones.
    image_size : int or None
        Fit every picture, whole, into a square of this many pixels, the rest filled. Needed where pictures differ in
        size.
    fill : {"mean", "edge", "reflect"}, float or sequence
        What lies outside an image: its own mean pixel, its border, its mirror image, or a value (0-1). The paper takes
        the mean pixel of all images.
    on_error : {"raise", "nan"}
        For pictures given as files, one that cannot be read: an error that names it, or a row of NaN and a warning
        at the end that lists all of them.
    batch_size : int
        Views at a time. Larger is faster on a GPU; memory grows with it.
    orbit_shape : tuple or None
        ``(m_1, …, m_g)`` of activations given as flat rows; None takes a row for an orbit of one view.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of images given as flat rows.
    verbose : int
        1 shows a bar of the views made.

    Attributes
    ----------
    backbone_ : transformer
        The fitted backbone; None without one.
    n_features_out_ : int
        Length of an answer.

    Notes
    -----
    Equation 2 is for activations that are not negative, as after ReLU; equation 1 takes absolute values, and so do the
    orders between 1 and inf here, where 1 and inf keep signs. As equation 4 is written, the innermost group acts on the
    image first and the outermost last; about a common centre scales and rotations commute.

    Simple uses: SPoC is ``stages=[("translation", 1)]``, MAC ``[("translation", inf)]``, GeM ``[("translation", p)]``,
    R-MAC ``[("translation", inf, "l2"), ("region", 1)]``. Whitening is scikit-learn's ``PCA(whiten=True)`` after it.

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
    }
    backbone: nn.Module | str | Annotated[Any, HasMethods(["fit", "transform"])] | Callable | None = None
    _: KW_ONLY
    stages: list | tuple = (("scale", 1), ("translation", 2), ("rotation", np.inf))
    transforms: dict | None = None
    moments: Literal["mean", "printed"] = "mean"
    normalize: bool = True
    region_levels: Count = 3
    image_size: Side | None = None
    fill: Literal["mean", "edge", "reflect"] | FiniteArray = "mean"
    on_error: Literal["raise", "nan"] = "raise"
    batch_size: Count = 32
    orbit_shape: tuple | list | None = None
    image_shape: tuple | list | None = None
    verbose: Verbose = 0

    @keeps_state_on_failure
    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, and fit the backbone where it is not.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), list of (h, w[, c]), list of file names, or activations \
(n, m_1, …, m_g, f)
            Images: whole numbers 0-255 (read as 0-1) or floats; pictures of any size and files need ``image_size``.
            Without a backbone: activations, an axis for each stage's group, in the stages' order.
        y : None
            Ignored, but given to the backbone.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For stages and groups that do not fit, bad images (the image or the file is named), NaN.
        """
        if self.backbone is None:
            stages = parse_stages(self.stages)
            orbits, container = self._check_orbits(X, len(stages), reset=True)
            self.backbone_ = None
            self._state = {"orbit_shape": list(orbits.shape[1:]), "namespace": container.name}
            self.n_features_out_ = self._pool_orbits(orbits[:1], stages).shape[1]
            return self
        stages = parse_stages(self.stages, {*self._groups(), *_ON_MAPS})
        source = self._source(X, reset=True)
        _, first = next(source.batches(1), (None, None))
        if first is None:
            raise ValueError(f"none of {len(source)} images could be read: {source.failed[0][1]}")
        if not self._is_read(source):
            first = self._read_array(first, reset=True)
            if isinstance(source.pictures, torch.Tensor):
                self._check_range(source.pictures, reset=True)  # of all images, which are at hand
        self._state = {"n_channels": first.shape[-1]}
        self.backbone_ = self._fitted_backbone(source, first, y)
        see = self._eyes(self._device_of(X))
        one_view = [stage for stage in stages if stage[0] in _ON_MAPS]
        with torch.no_grad():
            width = self._pool_images(first.to(self._device_of(X)), one_view, see).shape[1]
        self.n_features_out_ = width * math.prod(len(orders) for group, orders, _ in stages if group not in _ON_MAPS)
        return self

    def transform(self, X: Any) -> Any:
        """Pool the views of each image.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), list of (h, w[, c]), list of file names, or activations
            As in `fit`.

        Returns
        -------
        array or tensor of shape (n, n_features_out_)
            float32 from images; activations keep their dtype.
        """
        check_is_fitted(self)
        if self.backbone is None:
            stages = parse_stages(self.stages)
            self._check_namespace(ArrayKind(X), "transform")
            orbits, container = self._check_orbits(X, len(stages), reset=False)
            device = self._device_of(X)
            parts = [self._pool_orbits(part.to(device), stages) for part in orbits.split(self.batch_size)]
            return container.wrap(torch.cat(parts))
        stages = parse_stages(self.stages, {*self._groups(), *_ON_MAPS})
        source = self._source(X, reset=False)
        device = self._device_of(X)
        see, answer = self._eyes(device), None
        n_views = math.prod(len(self._groups()[group].orbit()) for group, _, _ in stages if group not in _ON_MAPS)
        with tqdm(total=len(source) * n_views, desc=type(self).__name__, unit="view", disable=not self.verbose) as bar:
            for rows, images in source.batches(self.batch_size):
                images = images if self._is_read(source) else self._read(images, reset=False)
                pooled = self._pool_images(images.to(device), stages, see, bar)
                check_finite_answer(self, "transform", pooled)  # here, for rows of unreadable files become NaN below
                if answer is None:
                    answer = pooled.new_full((len(source), pooled.shape[1]), torch.nan)
                answer[rows] = pooled
        if source is not X:
            source.warn_of_failures(type(self).__name__)
        if answer is None:
            answer = torch.full((len(source), self.n_features_out_), torch.nan, dtype=torch.float32)
        return ArrayKind(X[0] if isinstance(X, (list, tuple)) else X).wrap(answer)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features of an answer."""
        check_is_fitted(self)
        names = [f"{type(self).__name__.lower()}{i}" for i in range(self.n_features_out_)]
        return np.asarray(names, dtype=object)

    def _device_of(self, X):
        return resolve_device(self.device, X[0] if isinstance(X, (list, tuple)) else X)

    def _groups(self):
        own = self.transforms or {}
        for name, transform in own.items():
            if name in _ON_MAPS or not isinstance(name, str) or not isinstance(transform, Transform):
                raise ValueError(
                    f"transforms must name groups other than {_ON_MAPS} and give each a Transform, got {name!r}: "
                    f"{transform!r}"
                )
        return {"rotation": Rotation(), "scale": Scale(), **own}

    def _source(self, X, reset):
        """Images of whatever kind as a stream; one that is given is for the caller to ask about failures."""
        if isinstance(X, ImageStream):
            return X
        stream = ImageStream.of(X, self.image_size, self.fill, self.on_error)
        if stream is None:
            # with an image_size it is the squares, not X, that have to be of one size from call to call
            reader = self if self.image_size is None else type(self)(image_shape=self.image_shape)
            images = reader._read(X, reset=reset or reader is not self)
            stream = ImageStream(images, self.image_size, self.fill)
        return stream

    def _is_read(self, source):
        """Whether a stream holds what `_read` gave for X, and so has been checked as a whole."""
        return isinstance(source.pictures, torch.Tensor) and self.image_size is None

    def _fitted_backbone(self, source, first, y):
        backbone = self.backbone
        if not hasattr(backbone, "transform"):
            backbone = BackbonePatches(backbone, device=self.device)
        try:
            check_is_fitted(backbone)
        except NotFittedError:
            backbone = clone(backbone)
            if isinstance(backbone, BackbonePatches):
                return backbone.fit(first)
            some = source.some(_MOST_TO_FIT)
            rows, images = next(some.batches(len(some)))
            images = images.cpu().numpy()
            return backbone.fit(images, None if y is None else np.asarray(y)[some.rows][rows])
        return backbone

    def _eyes(self, device):
        """The backbone as a function of views (n, c, h, w) that gives maps (n, rows, columns, d)."""
        backbone: Any = self.backbone_
        if hasattr(backbone, "feature_maps"):  # and takes views of any size without a check of each
            run = backbone.feature_maps(device)
            return lambda views: run(views.permute(0, 2, 3, 1))
        return lambda views: _maps_of(backbone.transform(views.permute(0, 2, 3, 1)), len(views), device)

    def _pool_images(self, images, stages, see, bar=None):
        """(n, h, w, c) images -> (n, n_features_out_)."""
        names = [group for group, _, _ in stages if group not in _ON_MAPS]
        transforms = [self._groups()[name] for name in names]
        view = Compose(transforms, fill=self.fill, interpolation="bilinear")
        sizes = [len(transform.orbit()) for transform in transforms]
        rows = np.arange(math.prod(sizes)).reshape(sizes).T.ravel()
        params = view.orbit()[rows]  # the outermost group's change slowest
        maps = _views(scale_pixels(images).permute(0, 3, 1, 2).contiguous(), view, params, see, self.batch_size, bar)
        levels = self.region_levels if any(group == "region" for group, _, _ in stages) else None
        size_of = dict(zip(names, sizes, strict=True))
        pooled = nested_moments(stages, lambda: next(maps), size_of, levels, self.moments == "printed").flatten(1)
        return unit_length(pooled) if self.normalize else pooled

    def _pool_orbits(self, orbits, stages):
        pooled = orbit_moments(stages, orbits, self.moments == "printed")
        return unit_length(pooled) if self.normalize else pooled

    def _check_orbits(self, X, n_groups, reset):
        """(n, m_1, …, m_g, d) activations; flat rows are cut by ``orbit_shape``, or are orbits of one view."""
        refuse_bags(self, X, "activations as an array")
        container = ArrayKind(X)
        shape = getattr(X, "shape", (0, 0))
        if len(shape) <= 2:
            X = check_rows(self, X, reset=reset)
            orbit_shape = (1,) * n_groups if self.orbit_shape is None else tuple(self.orbit_shape)
            sizes = all(map(is_count, orbit_shape))
            if not sizes or len(orbit_shape) != n_groups or X.shape[1] % math.prod(orbit_shape):
                raise ValueError(
                    f"orbit_shape={self.orbit_shape} must have {n_groups} sizes, one a stage, whose product divides "
                    f"the {X.shape[1]} features of a row"
                )
            return X.reshape(len(X), *orbit_shape, -1), container
        if len(shape) != n_groups + 2 or 0 in shape:
            raise ValueError(
                f"activations must be of shape (n, {', '.join(f'm_{i + 1}' for i in range(n_groups))}, f), an axis for "
                f"each of {n_groups} stages, none of them empty, got {tuple(shape)}"
            )
        orbits = check_rows(self, X.reshape(shape[0], -1), reset=reset)
        return orbits.reshape(tuple(shape)), container
