"""The fitted state of `IICSegmenter`, and the predictions of its network."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sklinvariant.base import (
    Anything,
    Array,
    Each,
    Fields,
    FittedState,
    Flag,
    Input,
    Maybe,
    RealNumber,
    TorchEstimator,
    Weights,
    Whole,
)
from sklinvariant.cluster._segmentation._pixel_mixture import PixelMixture
from sklinvariant.cluster._segmentation._segmentation_module import SegmentationAnswers
from sklinvariant.cluster._segmentation._segmentation_trunk import SegmentationNetwork, predict_tiles
from sklinvariant.images import ImageReader, scale_pixels
from sklinvariant.ops import chunk_share, concatenated


@dataclass
class ScaledImages:
    """A list of images (c, h, w), and the mean and standard deviation of the channels.

    ``mixture`` is the one from which the main heads start, or None.
    """

    images: list
    shift: torch.Tensor
    scale: torch.Tensor
    mixture: PixelMixture | None


def images_of(given: Input) -> list[torch.Tensor]:
    """A list of (c, h, w) tensors of one dtype on the device; they may differ in size."""
    images = list(given.data)
    if len({image.dtype for image in images}) > 1:
        images = [scale_pixels(image) for image in images]
    dtype = functools.reduce(torch.promote_types, (image.dtype for image in images))
    return [image.permute(2, 0, 1).to(given.device, dtype) for image in images]


class FittedSegmentation(TorchEstimator):
    """What `IICSegmenter` has learned: the network, the mixture to which it adds, and the clusters of the pixels."""

    _layout = {
        "weights": Weights(
            heads__weight=Array("units", "width", 1, 1),
            trunk__3__weight=Array("width", "width", 3, 3),
            trunk__0__weight=Array("width", "n_channels", 3, 3),
        ),
        "shift": Array("n_channels", 1, 1),
        "scale": Array("n_channels", 1, 1),
        "heads": Each(Whole()),
        "width": Whole(),
        "n_channels": Whole(),
        "best_head": Whole(0),
        "mutual_information": Array("h"),
        "mutual_information_ratio": Array("h"),
        "labels": Maybe(Anything()),
        "mixture": Maybe(
            Fields(
                form=Array("mixture_clusters", "mixture_side", "mixture_side"),
                shift=Array("mixture_features"),
                scale=Array("mixture_features"),
                low=RealNumber(),
                high=RealNumber(),
                layout=Flag(),
            )
        ),
    }

    _reader = ImageReader(any_size=True)
    _shared_docs = """
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images: integers 0-255, which are scaled to 0-1, or floats. The images of a list may differ in size.
        """
    labels_ = FittedState("Clusters of the pixels of the images of the last fit, (n, h, w), or a list of (h, w).")
    mutual_information_ = FittedState("Mutual information in nats, (n_heads,).")
    mutual_information_ratio_ = FittedState("Mutual information divided by ln k, (n_heads,).")
    best_head_ = FittedState("Index of the head with the lowest loss.")

    @property
    def init_(self) -> str:
        """The start of the main heads: "mixture" or "random"."""
        if not self.__sklearn_is_fitted__():
            raise AttributeError(f"{type(self).__name__!r} object has no attribute 'init_'")
        return "random" if self._state.get("mixture") is None else "mixture"

    def _check_layout(self):
        state = self._state
        if sum(state["heads"]) != len(state["weights"]["heads.weight"]) or state["best_head"] >= len(state["heads"]):
            raise ValueError(f"heads of {state['heads']} clusters do not match the weights")
        mixture = state.get("mixture")
        if mixture is not None:
            n_features = state["n_channels"] + bool(mixture["layout"])
            if mixture["form"].shape[:2] != (state["heads"][0], n_features + 1) or len(mixture["shift"]) != n_features:
                raise ValueError(f"a mixture of shape {mixture['form'].shape} does not match the heads and channels")
            if not mixture["low"] < mixture["high"]:
                raise ValueError(f"the mixture has an empty range of colours, {mixture['low']} to {mixture['high']}")

    def predict(self, X: Any) -> Any:
        """Predict the most probable cluster of each pixel.

        Returns
        -------
        int64 array of shape (n, h, w), or list of n arrays (h, w)
            A list if X is a list of images of different sizes.
        """
        given = self._read(X)
        return self._predicted(given, lambda probabilities: probabilities.argmax(1))

    def predict_proba(self, X: Any) -> Any:
        """Predict the probabilities of the clusters for each pixel.

        Returns
        -------
        array of shape (n, h, w, n_clusters), or list of n arrays (h, w, n_clusters)
            A list if X is a list of images of different sizes.
        """
        given = self._read(X)
        return self._predicted(given, lambda probabilities: probabilities.permute(0, 2, 3, 1))

    def _predicted(self, given, function):
        """A function of the probabilities of the pixels of images: (n, h, w, ...), or a list of (h, w, ...)."""
        images = images_of(given)
        like = scale_pixels(images[0][:0])
        network = self._network(like, self._state["heads"], self._state["width"])
        shift, scale = self._fitted_tensors(like, "shift", "scale")
        data = ScaledImages(images, shift, scale, self._mixture(like))
        runs = self._of_pixels(network, data, self.best_head_, function)
        if len({image.shape[1:] for image in images}) == 1:
            return given.answer(concatenated(runs, len(images)))
        return [given.answer(image) for run in runs for image in run]

    @torch.no_grad()
    def _of_pixels(self, network, data, head, function):
        """A function of the probabilities of each pixel, (b, h, w, ...) for runs of images of equal size."""
        network.eval()
        for run in _runs(data.images, chunk_share(self.batch_size)):
            starts = None if data.mixture is None else [data.mixture.on(image) for image in run]
            tiles = predict_tiles(
                network, run, chunk_share(self.tile_size), head, lambda x: (scale_pixels(x) - data.shift) / data.scale
            )
            result: Any = None
            for (rows, columns), scores in tiles:
                if starts is not None:
                    scores = scores + torch.stack([start(rows, columns) for start in starts])
                part = function(scores.softmax(1))
                if result is None:
                    result = part.new_empty(len(run), *run[0].shape[1:], *part.shape[3:])
                result[:, rows, columns] = part
            yield result

    def _modules_of_methods(self, dtype):
        def answers(**answer):
            like = torch.empty(0, dtype=dtype)
            network = self._network(like, self._state["heads"], self._state["width"])
            shift, scale = self._fitted_tensors(like, "shift", "scale")
            return SegmentationAnswers(network, self.best_head_, shift, scale, self._mixture(like), **answer)

        return {"predict_proba": answers, "predict": functools.partial(answers, labels=True)}

    def _network(self, like, heads, width):
        """The fitted network, on the device and in the precision of the tensor ``like``."""
        # copied, because the weights may be memory-mapped from a file
        weights = {name: torch.tensor(np.asarray(value)) for name, value in self._state["weights"].items()}
        network = SegmentationNetwork.start(self._state["n_channels"], width, list(heads), torch.Generator())
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self).__name__} was fitted with a different width, or different numbers of heads and clusters. "
                f"Set these parameters back, or fit a clone ({error})"
            ) from error
        return network.to(like)

    def _mixture(self, like):
        """The mixture from which the fitted heads started, or None."""
        state = self._state.get("mixture")
        return None if state is None else PixelMixture.of_state(state, like)


def _runs(images, most):
    """Lists of at most ``most`` consecutive images of equal size."""
    for _, run in itertools.groupby(images, lambda image: image.shape):
        images_of_run = list(run)
        yield from (images_of_run[start : start + most] for start in range(0, len(images_of_run), most))
