"""A Gaussian mixture of the colours of pixels, from which segmentation starts if colours tell the classes apart.

Axes: n images, c channels, h×w pixels, d features of a pixel, k components.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sklinvariant.cluster._segmentation._dense_mutual_information import dense_joints
from sklinvariant.images import scale_pixels
from sklinvariant.ops import joint_information

_DARKEST = 0.03  # added before the logarithm
_LEAST_LOG = math.log(1e-4)  # of the probability of a component, so that training can still change it
_LEAST_VARIANCE = 1e-3  # of features of variance 1
_N_STARTS = 5
_N_PIXELS = 10_000  # that mixtures are fitted to
_N_IMAGES = 50  # on which neighbours are compared
_BANDS = 8  # of rows, in which the clusters are counted
_LEAST_LAYOUT = 0.05  # share of the entropy of the clusters that the row tells if images have a common layout
_LEAST_INFORMATION = 0.1  # share of their entropy that the clusters of neighbours tell if colours are used
_NEAR = 3  # largest distance of neighbours, in pixels along each axis
_SIDE = 2 * _NEAR + 1  # of the blocks whose textures are compared
_LEAST_BLOCKS = 20  # for each cluster; the information of fewer is overestimated
_OUTLIERS = 0.001  # share of the pixels at each end that may be outliers
_MOST_BEYOND = 2.0  # how far the scale reaches beyond the other pixels, as a share of their range
_STRIP_BYTES = 16 << 20  # memory for the intermediate values of a strip of rows
_ALL = slice(None)


@dataclass
class PixelMixture:
    """Log-probabilities ``z̃ᵀ A_c z̃``, up to a common term, of the components c for a pixel, with z̃ = (z, 1).

    The features z are the logarithms of the channels, scaled. With ``layout``, they are relative to their mean over the
    image, so that they do not depend on the exposure, and the row of the pixel is a further feature.
    """

    form: torch.Tensor  # (k, d + 1, d + 1)
    shift: torch.Tensor  # (d,)
    scale: torch.Tensor  # (d,)
    low: float
    high: float
    layout: bool

    @classmethod
    def of_state(cls, state: dict[str, Any], like: torch.Tensor) -> Self:
        """The mixture that `state` described, on the device and in the precision of the tensor ``like``."""
        tensors = {name: torch.tensor(np.asarray(state[name])).to(like) for name in ("form", "shift", "scale")}
        return cls(**tensors, low=float(state["low"]), high=float(state["high"]), layout=bool(state["layout"]))

    def state(self) -> dict[str, Any]:
        """Arrays and plain values."""
        return {
            **{name: getattr(self, name).cpu().numpy() for name in ("form", "shift", "scale")},
            "low": self.low,
            "high": self.high,
            "layout": self.layout,
        }

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Logarithms of the probabilities (k, h, w) of the components for an image (c, h, w)."""
        return self.on(image)(_ALL, _ALL)

    def on(self, image: torch.Tensor) -> Callable[[slice, slice], torch.Tensor]:
        """The function that evaluates the mixture in a window, given as rows and columns, of an image."""
        mean = mean_logs(image, self.low, self.high) if self.layout else None
        return functools.partial(self._window, image, mean)

    def of_images(self, images: torch.Tensor) -> torch.Tensor:
        """The same logarithms (n, k, h, w) for images (n, c, h, w), by operations that can be exported."""
        z = _logs(images, self.low, self.high)
        if self.layout:
            h, w = images.shape[2:]
            down = torch.linspace(-1, 1, h, dtype=z.dtype, device=z.device)[:, None].expand(images.shape[0], 1, h, w)
            z = torch.cat([z - z.mean((2, 3), keepdim=True), down], 1)
        z = (z - self.shift[:, None, None]) / self.scale[:, None, None]
        z = torch.cat([z, torch.ones_like(z[:, :1])], 1)
        products = torch.einsum("kde,ndhw->nkehw", self.form, z)
        return (products * z[:, None]).sum(2).log_softmax(1).clamp_min(_LEAST_LOG)

    @property
    def pixel_bytes(self) -> int:
        """Memory for the intermediate values (k, d + 1) of a pixel."""
        return self.form[:, 0].nbytes

    def _window(self, image, mean, rows, columns):
        first, last, _ = rows.indices(image.shape[1])
        width = len(range(*columns.indices(image.shape[2])))
        answer = self.form.new_empty(len(self.form), last - first, width)
        for strip in _strips(last - first, width, self.pixel_bytes):
            seen = slice(first + strip.start, first + strip.stop)
            z = pixel_features(image, self.low, self.high, layout=self.layout, rows=seen, columns=columns, mean=mean)
            answer[:, strip] = self._scores(z.to(self.form)).log_softmax(0).clamp_min(_LEAST_LOG)
        return answer

    def _scores(self, z):
        z = (z - self.shift[:, None, None]) / self.scale[:, None, None]
        z = torch.cat([z, torch.ones_like(z[:1])])
        return torch.einsum("khwe,ehw->khw", torch.einsum("kde,dhw->khwe", self.form, z), z)


def pixel_features(
    image: torch.Tensor,
    low: float,
    high: float,
    *,
    layout: bool,
    rows: slice | torch.Tensor = _ALL,
    columns: slice | torch.Tensor = _ALL,
    mean: torch.Tensor | None = None,
) -> torch.Tensor:
    """Logarithms (c, h, w) of the channels of an image or, with ``layout``, (c + 1, h, w): exposure-free, and the row.

    Light multiplies the intensity of a surface, and its logarithm only shifts. ``rows`` and ``columns`` select a window
    or, as indices (m, 1), pixels of the image, and ``mean`` is its `mean_logs` if that is known.
    """
    logs = _logs(image[:, rows, columns], low, high)
    if not layout:
        return logs
    mean = mean_logs(image, low, high) if mean is None else mean
    down = torch.linspace(-1, 1, image.shape[1], dtype=logs.dtype, device=logs.device)
    return torch.cat([logs - mean, down[:, None].expand(image.shape[1:])[rows, columns][None]])


def mean_logs(image: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Means (c, 1, 1) of the logarithms of the channels of an image, computed in strips."""
    c, h, w = image.shape
    sums = [_logs(image[:, strip], low, high).sum((1, 2), keepdim=True) for strip in _strips(h, w, 4 * c)]
    return torch.stack(sums).sum(0) / (h * w)


def _logs(pixels, low, high):
    return (_DARKEST + ((scale_pixels(pixels) - low) / (high - low)).clamp_min(0)).log()


def _strips(height: int, width: int, pixel_bytes: int, least: int = 1) -> Iterator[slice]:
    """Consecutive rows, at least ``least``, of as many pixels as fit the memory for a strip."""
    step = max(least, _STRIP_BYTES // (width * pixel_bytes))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def choose_mixture(
    images: Sequence[torch.Tensor], n_clusters: int, generator: torch.Generator, *, force: bool
) -> PixelMixture | None:
    """The mixture to start from, or None if colours tell less about neighbouring pixels than textures do.

    With ``force`` it is None only for a single cluster and for no more pixels than clusters. A first mixture, of the
    colours alone, shows whether the images have a common layout: the rows of the other images then tell in part which
    cluster a pixel belongs to.
    """
    sample = _Sample(images, generator)
    if n_clusters == 1 or len(sample) <= n_clusters:
        return None
    low, high = _range(sample, images)
    mixture = _fitted(sample, n_clusters, low, high, layout=False)
    if not force:
        by_texture = _texture_information(images, n_clusters, low, high, generator)
        if _information(mixture, images, _NEAR) < max(_LEAST_INFORMATION, by_texture):
            return None
    if _layout(sample, mixture) > _LEAST_LAYOUT:
        mixture = _fitted(sample, n_clusters, low, high, layout=True)
    return mixture


def _range(sample, images):
    """The values that the scale maps to 0 and 1: the extremes, limited if few pixels are far from the others.

    Values beyond them become larger than 1, or 0.
    """
    stored = [image.movedim(0, -1) for image in images]  # torch copies images that are not contiguous
    low = min(float(scale_pixels(image.min())) for image in stored)
    high = max(float(scale_pixels(image.max())) for image in stored)
    # of the darkest and of the brightest channel of each pixel, so that an outlier counts once
    bottom = sample.take(lambda image, *place: scale_pixels(image[:, *place].amin(0, keepdim=True)))
    top = sample.take(lambda image, *place: scale_pixels(image[:, *place].amax(0, keepdim=True)))
    bottom = float(bottom.quantile(_OUTLIERS, interpolation="higher"))
    top = float(top.quantile(1 - _OUTLIERS, interpolation="lower"))
    if bottom < top:
        beyond = _MOST_BEYOND * (top - bottom)
        low, high = max(low, bottom - beyond), min(high, top + beyond)
    low = min(0.0, low)
    return low, high if high > low else low + 1.0


class _Sample:
    """Random pixels of each image, always the same."""

    def __init__(self, images, generator):
        chosen = torch.randperm(len(images), generator=generator)[:_N_PIXELS].tolist()
        self.images = [images[i] for i in chosen]
        count = math.ceil(_N_PIXELS / len(images))
        self.places = [
            torch.randperm(image[0].numel(), generator=generator)[:count].to(image.device) for image in self.images
        ]
        self.seed = int(torch.randint(2**31, (), generator=generator))

    def __len__(self):
        return sum(len(places) for places in self.places)

    def take(self, function):
        """Values (m, d) of a function (d, m, 1) of an image and of the rows and columns (m, 1) of its pixels."""
        return torch.cat(
            [
                function(image, (places // image.shape[2])[:, None], (places % image.shape[2])[:, None]).flatten(1).T
                for image, places in zip(self.images, self.places, strict=True)
            ]
        )

    def bands(self):
        """The band of rows (m,) of each pixel."""
        maps = zip(self.images, self.places, strict=True)
        return torch.cat([places // image.shape[2] * _BANDS // image.shape[1] for image, places in maps])

    def numbers(self):
        """The number of the image (m,) of each pixel."""
        return torch.cat([torch.full_like(places, i) for i, places in enumerate(self.places)])


def _fitted(sample, k, low, high, *, layout):
    z = sample.take(
        lambda image, rows, columns: pixel_features(image, low, high, layout=layout, rows=rows, columns=columns)
    )
    shift, scale = z.mean(0), z.std(0)
    scale = torch.where(scale > 1e-6, scale, 1.0)
    rows = ((z - shift) / scale).double().cpu().numpy()
    model = GaussianMixture(
        k, n_init=_N_STARTS, init_params="k-means++", reg_covar=_LEAST_VARIANCE, random_state=sample.seed
    )
    # the rows are an array of numpy, and scikit-learn refuses k-means++ if arrays are dispatched
    with warnings.catch_warnings(), config_context(array_api_dispatch=False):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    return PixelMixture(torch.from_numpy(_forms(model)).to(z), shift, scale, low, high, layout)


def _forms(model):
    """The matrices A (k, d + 1, d + 1) of a mixture: log(weight · density) = z̃ᵀ A z̃ up to a common term."""
    k, d = model.means_.shape
    forms = np.empty((k, d + 1, d + 1))
    for form, weight, mean, precision in zip(forms, model.weights_, model.means_, model.precisions_, strict=True):
        pull = precision @ mean
        form[:d, :d] = -precision / 2
        form[:d, d] = form[d, :d] = pull / 2
        form[d, d] = np.log(max(weight, 1e-30)) + np.linalg.slogdet(precision)[1] / 2 - mean @ pull / 2
    return forms


@torch.no_grad()
def _information(mixture, images, half_window):
    """Mutual information of the clusters of neighbouring pixels as a share of their entropy."""
    joint: Any = 0
    k = len(mixture.form)
    for image in images[:: math.ceil(len(images) / _N_IMAGES)]:
        on_image = mixture.on(image)
        _, h, w = image.shape
        for strip in _strips(h, w, mixture.pixel_bytes, least=half_window or 1):
            top = max(strip.start - half_window, 0)
            chosen = on_image(slice(top, strip.stop + half_window), _ALL).argmax(0)
            around = (chosen == torch.arange(k, device=chosen.device)[:, None, None]).to(mixture.form)[None]
            inside = torch.zeros_like(around)
            rows = slice(strip.start - top, strip.stop - top)
            inside[:, :, rows] = around[:, :, rows]
            joint = joint + dense_joints(inside, around, half_window, average="joint")
    marginal = joint.sum(0) / joint.sum()
    entropy = float(torch.special.entr(marginal).sum())
    return float(joint_information(joint)) / entropy if entropy > 0 else 0.0


def _texture_information(images, k, low, high, generator):
    """The same share for the textures of adjacent blocks instead of colours, or 0 if there are few blocks."""
    some = images[:: math.ceil(len(images) / _N_IMAGES)]
    maps = [_textures(image, low, high) for image in some if min(image.shape[1:]) >= _SIDE]
    if sum(blocks[0].numel() for blocks in maps) < _LEAST_BLOCKS * k:
        return 0.0
    return _information(_fitted(_Sample(maps, generator), k, 0.0, 1.0, layout=False), maps, 1)


def _textures(image, low, high):
    """Standard deviation and mean steps along each axis, (3, h // s, w // s), in the blocks of s×s pixels of an image.

    They do not depend on the mean colour of a block, and blocks do not overlap, so neighbours have no pixel in common.
    """
    rows = []
    for top in range(0, image.shape[1] - _SIDE + 1, _SIDE):
        blocks = _logs(image[:, top : top + _SIDE], low, high).unfold(2, _SIDE, _SIDE)  # (c, s, w // s, s)
        values = [blocks.std((1, 3)), *(blocks.diff(dim=axis).abs().mean((1, 3)) for axis in (1, 3))]
        rows.append(torch.stack(values).mean(1))
    return torch.stack(rows, 1)


@torch.no_grad()
def _layout(sample, mixture):
    """How much better the clusters of an image are predicted by the rows of the other images, as a share of entropy.

    It is the mean over the images minus two standard errors, because few images may agree by chance.
    """
    # as an image, because these components ignore the place
    pixels = sample.take(lambda image, *place: image[:, *place]).T[:, None]
    labels = mixture(pixels)[:, 0].argmax(0)
    k, n = len(mixture.form), len(sample.images)
    cells = (sample.numbers() * _BANDS + sample.bands()) * k + labels
    counts = cells.bincount(minlength=n * _BANDS * k).view(n, _BANDS, k).double()
    others = counts.sum(0) - counts + 1
    by_row = (others / others.sum(2, keepdim=True)).log()
    by_all = (others.sum(1) / others.sum((1, 2))[:, None]).log()[:, None]
    gains = (counts * (by_row - by_all)).sum((1, 2)) / counts.sum((1, 2))
    entropy = float(torch.special.entr(counts.sum((0, 1)) / counts.sum()).sum())
    if n == 1 or entropy == 0:
        return 0.0
    return float(gains.mean() - 2 * gains.std() / math.sqrt(n)) / entropy
