"""The fitted state of `IICClusterer`, and the predictions of its network."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from torch import nn

from sklinvariant.base import (
    Anything,
    Array,
    Each,
    FittedState,
    Flag,
    Function,
    Input,
    Maybe,
    Reader,
    TorchEstimator,
    Weights,
    Whole,
    check_computed,
    load_arrays,
)
from sklinvariant.cluster._cluster_network import ClusterAnswers, ClusterNetwork
from sklinvariant.cluster._evaluation import compute
from sklinvariant.cluster._scaling import Scaling
from sklinvariant.images import ImageInput, scale_pixels


def samples_of(given: Input) -> torch.Tensor:
    """Rows (n, d) or images (n, h, w, c). Images of integers stay integers, and are converted in batches."""
    if isinstance(given, ImageInput) and not given.data.is_floating_point():
        return given.data.to(given.device)
    return given.tensor()


class FittedClusters(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, TorchEstimator):
    """What `IICClusterer` has learned: the network, the clusters of the samples, and their mutual information."""

    _samples: Reader  # of single samples, also if `fit` reads pairs
    _layout = {
        "network": Weights(shift=Array(None), scale=Anything(), heads__linear__weight=Array(None, "n_trunk_features")),
        "n_trunk_features": Whole(),
        "n_channels": Maybe(Whole()),
        "sample_shape": Each(Whole()),
        "best_head": Whole(0),
        "labels": Array(None, kinds="i"),
        "mutual_information": Array("h"),
        "mutual_information_ratio": Array("h"),
        "roots": Maybe(Flag()),
    }

    _shared_docs = """
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])
            Rows or images: integers 0-255 or floats. Images have equal size unless ``image_size`` is set. In `fit`,
            `partial_fit` and `score` with ``pairs="explicit"``, X has an additional second axis of length 2.
        """
    labels_ = FittedState("Clusters of the samples of the last fit, (n,).")
    mutual_information_ = FittedState("Mutual information in nats, (n_heads,).")
    mutual_information_ratio_ = FittedState("Mutual information divided by ln k, (n_heads,).")
    best_head_ = FittedState("Index of the head with the lowest loss.")

    def _check_layout(self):
        state = self._state
        shape, heads = state["sample_shape"], state["network"]["heads.linear.weight"]
        if len(shape) not in (1, 3) or (len(shape) == 1) != (state["n_channels"] is None):
            raise ValueError(f"samples of shape {shape} do not match n_channels={state['n_channels']}")
        if state["network"]["shift"].shape != (shape[-1],):
            raise ValueError(f"shift should have {shape[-1]} numbers, got {state['network']['shift'].shape}")
        if state["network"]["scale"].shape not in ((), (shape[-1],)):
            raise ValueError(f"scale should be one number or {shape[-1]}, got {state['network']['scale'].shape}")
        # checked before a network of this size is created
        if len(heads) != self.n_heads * self.n_clusters or state["best_head"] >= self.n_heads:
            raise ValueError(f"{len(heads)} units do not match n_heads={self.n_heads} and n_clusters={self.n_clusters}")
        auxiliary = state["network"].get("auxiliary.linear.weight")
        if len(auxiliary if auxiliary is not None else ()) != self.n_heads * (self.n_overclusters or 0):
            raise ValueError(
                f"the auxiliary heads do not match n_heads={self.n_heads} and n_overclusters={self.n_overclusters}"
            )

    def predict(self, X: Any) -> Any:
        """Predict the cluster of each sample.

        Returns
        -------
        array of shape (n,)
        """
        given = self._samples.read(self, X)
        return given.answer(self._compute(given, lambda probabilities: probabilities.argmax(1)))

    def predict_proba(self, X: Any) -> Any:
        """Predict the probabilities of the clusters for each sample.

        They say how clearly a sample belongs to its cluster, and not how probable it is that the cluster is a class.

        Returns
        -------
        array of shape (n, n_clusters)
        """
        given = self._samples.read(self, X)
        return given.answer(self._compute(given, torch.clone))

    def transform(self, X: Any) -> Any:
        """The features that the trunk computes.

        Returns
        -------
        array of shape (n, n_trunk_features)
        """
        given = self._samples.read(self, X)
        samples = samples_of(given)
        features = compute(self._network(samples), samples, lambda features: features)
        return given.answer(check_computed(self, features))

    def _network(self, samples):
        """The fitted network, on the device and in the precision of the samples."""
        state = self._state["network"]
        shape = tuple(self._state["sample_shape"])
        # copied, because the weights may be memory-mapped from a file
        shift, scale = (torch.tensor(np.asarray(state[name])) for name in ("shift", "scale"))
        scaling = Scaling(shift, scale, bool(self._state.get("roots")))
        network = self._build(shape, torch.Generator(), scaling)
        try:
            load_arrays(network, state)
        except RuntimeError as error:
            raise ValueError(
                f"{type(self).__name__} was fitted with a different network, or different numbers of heads and "
                f"clusters. Set these parameters back, or fit a clone ({error})"
            ) from error
        return network.to(scale_pixels(samples[:0]))

    def _build(self, shape, generator, scaling):
        sizes = self.n_heads, self.n_clusters, self.n_overclusters
        settings = {"scaling": scaling, "entropy_weight": self.entropy_weight}
        return ClusterNetwork.build(self.network, shape, *sizes, generator=generator, **settings)

    def _compute(self, given, function):
        """``function`` of the probabilities (m, n_clusters) of parts of the samples, concatenated."""
        samples = samples_of(given)
        network = self._network(samples)
        return compute(network, samples, lambda x: function(check_computed(self, network.heads(x)[:, self.best_head_])))

    def _modules_of_methods(self, dtype):
        def network(head=None):
            return ClusterAnswers(self._network(torch.empty(0, dtype=dtype)), head)

        return {
            "transform": network,
            "predict_proba": lambda: network(self.best_head_),
            "predict": lambda: nn.Sequential(network(self.best_head_), Function(partial(torch.argmax, dim=1))),
        }

    @property
    def _n_features_out(self):
        return self._state["n_trunk_features"]
