"""Features learned from patches and applied to images as one convolution.

Coates, Ng, Lee 2011, "An analysis of single-layer networks in unsupervised feature learning", and Coates, Ng 2011, "The
importance of encoding versus training with sparse coding and vector quantization": random patches are normalised to the
same contrast and whitened, and a dictionary is learned from them. Its activations over the whole image are the
features.

Axes: n images, maps of h' × w' cells, k filters, patches of p numbers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.random import sample_without_replacement
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.functional import avg_pool2d

from sklinvariant._compat import CallbackSupportMixin, HasMethods, fit_context, reports_fit
from sklinvariant.accumulate import Blocks, Moments, measure_moments
from sklinvariant.base import (
    Array,
    Count,
    Device,
    Each,
    Fields,
    FittedState,
    Maybe,
    NonNegative,
    OnDevice,
    Positive,
    RandomState,
    Text,
    TorchEstimator,
    Whole,
    as_numpy,
    as_tensor,
    declared,
    is_fitted,
)
from sklinvariant.feature_extraction._dense_patches import normalize_patches, window_of
from sklinvariant.feature_extraction._filters import slide, take_patches, zca
from sklinvariant.images import ImageReader, WithImageSize, channels_first, scale_pixels
from sklinvariant.ops import check_reach, float64_device, largest_value

# attributes in which extractors store their vectors, and the default encoding of each
_VECTORS = (("cluster_centers_", "triangle"), ("codebook_", "triangle"), ("components_", "soft_threshold"))


def triangle(gaps: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """``max(0, mean_j d_j - d_j)`` for the distances d_j of patches x (…, p) from k points w_j.

    ``gaps`` (…, k) are ``‖w_j‖² - 2 w_j·x``. About half of the activations are 0 (Coates, Ng, Lee 2011, section 3.2.2).
    """
    distances = (gaps + patches.square().sum(-1, keepdim=True)).clamp_(min=0).sqrt_()
    return torch.sub(distances.mean(-1, keepdim=True), distances, out=distances).clamp_(min=0)


def for_distances(
    vectors: torch.Tensor, mean: torch.Tensor, whitening: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Filters (k + p, p) and biases that compute the arguments of `triangle` from an unwhitened patch x.

    These are ``‖w_j‖² - 2 w_j·x`` and x itself, both relative to the mean of the w_j, which minimises rounding errors.
    """
    middle = vectors.mean(0)
    vectors = vectors - middle
    filters = torch.cat([-2 * vectors @ whitening, whitening])
    bias = torch.cat([vectors.square().sum(1) + 2 * vectors @ middle, -middle])
    return filters, bias - filters @ mean


def soft_threshold(products: torch.Tensor, threshold: float) -> torch.Tensor:
    """``max(0, z - t)`` and ``max(0, -z - t)`` side by side: (…, k) -> (…, 2 k) (Coates, Ng 2011, section 3.3)."""
    return torch.cat([products - threshold, -products - threshold], dim=-1).clamp_(min=0)


def average_cells(maps: torch.Tensor, size: int) -> torch.Tensor:
    """(n, h, w, k) maps averaged over squares of cells; a map that is smaller than a square gives one row or column."""
    if size == 1:
        return maps
    sides = [min(size, side) for side in maps.shape[1:3]]
    return avg_pool2d(maps.permute(0, 3, 1, 2), sides).permute(0, 2, 3, 1)


class FeatureMaps(nn.Module):
    """The feature maps of images, from a fitted state: one convolution, then the encoding and pooling of cells."""

    filters: torch.Tensor
    bias: torch.Tensor

    def __init__(self, state: dict[str, Any], stride: int, flat: float | None, threshold: float, pool: int) -> None:
        super().__init__()
        vectors, mean, whitening = (torch.tensor(np.asarray(state[key])) for key in ("vectors", "mean", "whitening"))
        filters = vectors @ whitening
        bias = -(filters @ mean)
        if state["encoding"] == "triangle":
            filters, bias = for_distances(vectors, mean, whitening)
        elif state["encoding"] == "sigmoid":
            bias += torch.tensor(np.asarray(state["intercept"]))
        self.register_buffer("filters", filters)
        self.register_buffer("bias", bias)
        self.k, self.window, self.encoding = len(vectors), tuple(state["window"]), state["encoding"]
        self.stride, self.flat, self.threshold, self.pool = stride, flat, threshold, pool

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = scale_pixels(channels_first(images).permute(0, 2, 3, 1).to(self.filters.device))
        window_of(self.window, images)
        filters, bias = self.filters.to(images), self.bias.to(images)
        maps = slide(images, filters, bias, self.window, self.stride, self.flat)
        if self.encoding == "triangle":
            maps = triangle(maps[..., : self.k], maps[..., self.k :])
        elif self.encoding == "sigmoid":
            maps = maps.sigmoid_()
        else:
            maps = soft_threshold(maps, self.threshold)
        return average_cells(maps, self.pool)


def _can_learn_in_parts(self):
    return hasattr(getattr(self, "extractor_", self.extractor), "partial_fit")


@declared
class ConvolutionalFeatures(
    WithImageSize, OnDevice, CallbackSupportMixin, TransformerMixin, TorchEstimator, auto_wrap_output_keys=None
):
    r"""Images to feature maps by features that are learned on their patches: ``(n, h, w[, c])`` to ``(n, h', w', k)``.

    `fit` samples random patches, normalises their contrast, whitens them, and fits the extractor to them. Neither
    pretrained weights nor labels are needed. `transform` computes the features that the extractor would give for every
    patch of an image, by one convolution: contrast normalisation and whitening are merged into the filters.

    Parameters
    ----------
    extractor : estimator
        Estimator that learns a dictionary of patches, passed as rows of ``height * width * c`` numbers: scikit-learn's
        ``KMeans`` and ``MiniBatchKMeans`` (``cluster_centers_``), ``MiniBatchDictionaryLearning`` and others with
        ``components_``, :class:`~sklinvariant.autoencoder.SparseAutoencoder`, or
        :class:`~sklinvariant.aggregation.BagOfWords` (``codebook_``). A clone is fitted, unless the estimator already
        is.
    patch_size : int or (int, int)
        Height and width of a patch in pixels.
    stride : int
        Distance between neighbouring patches in pixels. Larger strides give smaller maps and are faster.
    encoding : {"auto", "triangle", "soft_threshold", "sigmoid"}
        Features of a patch x for each vector w of the extractor. They are never negative. "auto" is "sigmoid" if there
        is an ``intercept_``, "triangle" for cluster centres, and "soft_threshold" for other ``components_``.

        - "triangle": how much closer w is than the average of all vectors, :math:`\max(0, \mu - \lVert x - w \rVert)`
          with the mean μ of the distances of x to all vectors.
        - "soft_threshold": :math:`\max(0, w \cdot x - t)` and :math:`\max(0, -w \cdot x - t)` with ``threshold`` t,
          twice as many features.
        - "sigmoid": :math:`\sigma(w \cdot x + b)`, for an extractor with ``intercept_`` b.
    threshold : float
        Threshold of "soft_threshold". Larger values give more zeros.
    normalize : {"contrast"} or None
        "contrast" subtracts the mean of a patch and divides by its standard deviation plus ``contrast_eps``.
    contrast_eps : float
        Regulariser, in units of images 0-1. Larger values suppress patches of low contrast, which contain mostly noise
        and resizing artefacts.
    whiten : bool
        Remove correlations between pixels (ZCA). Without whitening, k-means finds blurred blobs instead of edges.
    whitening_eps : float
        Added to the variances before whitening, relative to their mean. Larger values remove more noise and more
        detail.
    pool : int
        Average the maps over non-overlapping squares of ``pool × pool`` cells. Smaller maps obtained by pooling lose
        less information than those obtained by a larger stride. Remaining cells at the lower and right edge are
        dropped.
    n_patches : int
        Maximum number of patches, sampled without replacement from all images of a call of `fit` or `partial_fit`.
    batch_size : int
        Number of images processed at a time. Bounds the memory used in addition to the output.
    image_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. With None, a flat row is an image of one row of pixels.
    random_state : int, RandomState or None
        Seeds the choice of patches, and the extractor if it has no seed of its own.

    Attributes
    ----------
    extractor_ : estimator
        The fitted extractor.
    mean_ : array of shape (p,)
        Mean of the normalised patches.
    whitening_ : array of shape (p, p)
        Whitening matrix; the identity with ``whiten=False``.
    filters_ : array of shape (k, height, width, c)
        The extractor's vectors merged with the whitening: the filters of the convolution, which can be shown as images.

    Notes
    -----
    The output is an array of maps, with the array type and device of X. `SpatialPooling` accepts it directly.
    Estimators of bags (`BagOfWords`, `LearnedBoW`, …) treat the cells of a map as a bag, and estimators of rows
    (hashers, `SparseAutoencoder`, …) flatten the map to a row. `NestedInvariancePooler` accepts this estimator as a
    backbone. Maps are large: 729 cells of 100 features for an image of 32 × 32 pixels are 290 kB.

    In float32, the distance between a patch and an equal centre has an error of some thousandths, because the square
    root amplifies rounding errors. float64 images have no such error.

    A fitted extractor receives patches that were normalised and whitened here, whatever patches it was fitted on. If it
    was fitted on raw patches, set ``normalize=None, whiten=False``.

    References
    ----------
    Coates, Ng, Lee (2011). An analysis of single-layer networks in unsupervised feature learning. Section 3.
    Coates, Ng (2011). The importance of encoding versus training with sparse coding and vector quantization.

    Examples
    --------
    >>> from sklearn.cluster import MiniBatchKMeans
    >>> from sklearn.datasets import load_digits
    >>> from sklinvariant.feature_extraction import ConvolutionalFeatures
    >>> images = load_digits().images[:200] / 16
    >>> features = ConvolutionalFeatures(MiniBatchKMeans(20), patch_size=4, random_state=0)
    >>> features.fit_transform(images).shape
    (200, 5, 5, 20)
    >>> features.filters_.shape
    (20, 4, 4, 1)
    """

    _reader = ImageReader()
    _fits_shards = False
    _layout = {
        "vectors": Array("k", "p"),
        "encoding": Text("triangle", "sigmoid", "soft_threshold"),
        "intercept": Maybe(Array("k")),
        "mean": Array("p"),
        "whitening": Array("p", "p"),
        "window": Each(Whole(), 2),
        "n_channels": Whole(),
        "image_size": Each(Whole(), 2),
        # of the normalised patches, if they are whitened; files of earlier versions have none
        "moments": Maybe(
            Fields(n_rows=Whole(), mean=Array("p"), low=Array("p"), high=Array("p"), products=Array("p", "p"))
        ),
    }
    extractor: Annotated[Any, HasMethods(["fit"])]
    _: KW_ONLY
    patch_size: Count | tuple | list = 6
    stride: Count = 1
    encoding: Literal["auto", "triangle", "soft_threshold", "sigmoid"] = "auto"
    threshold: NonNegative = 0.5
    normalize: Literal["contrast"] | None = "contrast"
    contrast_eps: Positive = 0.01
    whiten: bool = True
    whitening_eps: NonNegative = 0.1
    pool: Count = 1
    n_patches: Count = 50_000
    batch_size: Count = 16
    image_shape: tuple | list | None = None
    random_state: RandomState = None

    mean_ = FittedState("Mean of the normalised patches, (p,).")
    whitening_ = FittedState("Whitening matrix, (p, p).")

    def _check_layout(self):
        state = self._state
        if math.prod(state["window"]) * state["n_channels"] != len(state["mean"]):
            raise ValueError(
                f"filters have {len(state['mean'])} numbers, which do not match windows of {state['window']} pixels. "
                "Fit again."
            )
        if state["encoding"] == "sigmoid" and state.get("intercept") is None:
            raise ValueError("encoding='sigmoid' requires an intercept, but the state has none. Fit again.")

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn whitening and features from random patches of the images.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images: integers 0-255 (scaled to 0-1) or floats.

        Raises
        ------
        ValueError
            If an image is not valid (the message names it) or smaller than a patch, or if the extractor learns no
            vectors of patches or does not support the encoding.
        """
        given, random = self._read(X, reset=True), check_random_state(self.random_state)
        moments, patches, learned = self._whitened(given, random, None)
        self._keep(given, moments, fitted_extractor(self.extractor, patches, random), learned)
        return self

    @available_if(_can_learn_in_parts)
    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more images: call the extractor's ``partial_fit`` with patches of them.

        Only available if the extractor has this method, as ``MiniBatchKMeans`` and ``IncrementalPCA`` have. `mean_` and
        `whitening_` are those of all patches so far. The extractor does not see earlier patches again, which were
        whitened by those of that time, so the first images should be typical of all. An extractor that was fitted
        before it was passed is kept as it is.

        Raises
        ------
        ValueError
            If an image is not valid (the message names it) or smaller than a patch, if the images differ in size from
            earlier ones, if ``patch_size`` or ``whiten`` has changed, or if the model was saved by an earlier version.
        """
        if not hasattr(self, "_state"):
            given, random = self._read(X, reset=True), check_random_state(self.random_state)
            moments, patches, learned = self._whitened(given, random, None)
            extractor = self.extractor if is_fitted(self.extractor) else seeded(self.extractor, random)
        else:
            given, random = self._read(X), check_random_state(self.random_state)
            self._check_continues(given.data)
            moments, patches, learned = self._whitened(given, random, self._state.get("moments"))
            extractor = copy.deepcopy(self.extractor_)  # an error leaves it unchanged
            patches = patches.to(as_tensor(found_vectors(extractor)[0]).dtype)
        if not is_fitted(self.extractor):
            extractor.partial_fit(rows_for(extractor, patches))
        self._keep(given, moments, extractor, learned)
        return self

    def _check_continues(self, images):
        """Raise a ValueError if the fitted model cannot learn from more images."""
        if self.whiten != (self._state.get("moments") is not None):
            raise ValueError(
                f"whiten={self.whiten} cannot continue a fit with another whiten, or a model that was saved by an "
                "earlier version. Fit a clone"
            )
        if list(window_of(self.patch_size, images)) != self._state["window"]:
            raise ValueError(
                f"patch_size={self.patch_size} differs from {self._state['window']} in the previous fit. Set it back, "
                "or fit a clone"
            )

    def _whitened(self, given, random, earlier):
        """The moments of normalised patches and of earlier ones, the whitened patches, and what whitens them."""
        images = given.data
        window = window_of(self.patch_size, images)
        places = len(images) * int(np.prod([images.shape[1 + i] - window[i] + 1 for i in (0, 1)]))
        index = np.sort(sample_without_replacement(places, min(self.n_patches, places), random_state=random))
        patches = scale_pixels(take_patches(images, window, torch.from_numpy(index))).to(given.device)
        check_reach(largest_value(patches), patches.dtype, "X", fitting=True)
        patches = normalize_patches(patches, self.normalize, self.contrast_eps)
        mean, whitening = (make(patches.shape[1], dtype=torch.float64) for make in (torch.zeros, torch.eye))
        moments = None
        if self.whiten:
            moments = measure_moments(Blocks(patches), axes=2)
            if earlier is not None:
                moments = Moments.from_state(earlier, float64_device(given.device)) + moments
            mean, whitening = zca(moments, self.whitening_eps)
            patches = (patches - mean.to(patches)) @ whitening.to(patches)
        learned = {"mean": as_numpy(mean), "whitening": as_numpy(whitening), "window": list(window)}
        return moments, patches, learned

    def _keep(self, given, moments, extractor, learned):
        state = {
            **vectors_of(extractor, self.encoding, len(learned["mean"])),
            **learned,
            "n_channels": given.data.shape[-1],
            "image_size": list(given.data.shape[1:3]),
            "namespace": given.kind.name,
            "moments": None if moments is None else moments.to_state(),
        }
        self.extractor_, self._state = extractor, state

    def transform(self, X: Any) -> Any:
        """Compute the feature maps of images.

        Returns
        -------
        array of shape (n, h', w', k)
            Maps with ``h' = (1 + (h - height) // stride) // pool`` rows, analogous columns, and k features, or 2 k with
            "soft_threshold". float64 for float64 images, else float32.
        """
        given = self._read(X)
        images = given.data
        run, answer = self.feature_maps(given.device), None
        for start in range(0, len(images), self.batch_size):
            maps = run(images[start : start + self.batch_size])
            if answer is None:
                answer = torch.empty((len(images), *maps.shape[1:]), dtype=maps.dtype, device=given.kind.tensor_device)
            answer[start : start + self.batch_size] = maps
        return given.answer(answer)

    def feature_maps(self, device: Device) -> Callable[[torch.Tensor], torch.Tensor]:
        """The fitted features on a device, as a function of images.

        The filters are computed only once, so the function can be called for many batches.

        Parameters
        ----------
        device : str or torch.device
            Where the function computes.

        Returns
        -------
        callable that maps images (n, h, w, c) to maps (n, h', w', k)
        """
        check_is_fitted(self)
        module = self._map_module().to(device)

        @torch.no_grad()
        def run(images):
            return module(images)

        return run

    def _map_module(self):
        """The module from images (n, h, w, c) to maps (n, h', w', k)."""
        flat = self.contrast_eps if self.normalize == "contrast" else None
        return FeatureMaps(self._state, self.stride, flat, self.threshold, self.pool)

    def _modules_of_methods(self, dtype):
        return {"transform": self._map_module}

    @property
    def filters_(self) -> np.ndarray:
        try:
            state = self._state
        except AttributeError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'filters_'") from None
        return (state["vectors"] @ state["whitening"]).reshape(-1, *state["window"], state["n_channels"])

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing. Maps stay arrays, whatever output is set for the later steps of a Pipeline."""
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features of a cell.

        Returns
        -------
        ndarray of k str
        """
        check_is_fitted(self)
        k = len(self._state["vectors"]) * (2 if self._state["encoding"] == "soft_threshold" else 1)
        return np.asarray([f"{type(self).__name__.lower()}{i}" for i in range(k)], dtype=object)


def fitted_extractor(extractor: Any, patches: torch.Tensor, random: np.random.RandomState) -> Any:
    """The extractor if it is fitted, else a clone fitted to the patches."""
    if is_fitted(extractor):
        return extractor
    extractor = seeded(extractor, random)
    return extractor.fit(rows_for(extractor, patches))


def seeded(extractor: Any, random: np.random.RandomState) -> Any:
    """A clone of the extractor, with unset seeds drawn from ``random``."""
    extractor = clone(extractor)
    seeds = {
        name: random.randint(np.iinfo(np.int32).max)
        for name, value in sorted(extractor.get_params().items())
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    return extractor.set_params(**seeds)


def rows_for(extractor: Any, patches: torch.Tensor) -> Any:
    """The patches as an array that the extractor reads."""
    return patches if isinstance(extractor, TorchEstimator) else as_numpy(patches)


def found_vectors(extractor: Any) -> tuple[np.ndarray, str, str]:
    """The vectors of a fitted extractor, the name of the attribute, and the encoding that suits it."""
    for name, suited in _VECTORS:
        if hasattr(extractor, name):
            return np.asarray(getattr(extractor, name)), name, suited
    raise ValueError(
        f"extractor={type(extractor).__name__} has no filters, but one of {', '.join(name for name, _ in _VECTORS)} is "
        "required. Pass another extractor."
    )


def vectors_of(extractor: Any, encoding: str, n_features: int) -> dict[str, Any]:
    """The state that encodes patches: vectors (k, p), intercepts (k,) of a sigmoid, and the encoding."""
    vectors, name, suited = found_vectors(extractor)
    kind, vectors = type(extractor).__name__, vectors.astype(np.float64)
    if vectors.ndim != 2 or vectors.shape[1] != n_features:
        raise ValueError(
            f"extractor={kind} has {name} of shape {vectors.shape}, but patches have {n_features} numbers. Change "
            "patch_size, or pass an unfitted extractor."
        )
    intercept = getattr(extractor, "intercept_", None)
    if encoding == "auto":
        encoding = "sigmoid" if intercept is not None else str(suited)
    if encoding != "sigmoid":
        return {"vectors": vectors, "encoding": encoding}
    intercept = np.asarray(intercept, np.float64)
    if intercept.shape != (len(vectors),):
        raise ValueError(
            f'encoding="sigmoid" requires an intercept_ for each filter, but extractor={kind} has none. Set '
            'encoding="auto".'
        )
    return {"vectors": vectors, "encoding": encoding, "intercept": intercept}
