"""The base of the aggregation estimators, which encode each bag as one vector."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from sklinvariant._compat import CallbackSupportMixin
from sklinvariant.bags import BagEstimator
from sklinvariant.base import Array, Count, OnDevice, RandomState, RealNumber, Whole, declared
from sklinvariant.networks import Bags, Units


@declared
class BagPooling(OnDevice, CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BagEstimator):
    """Base of transformers from bags of descriptors to vectors. A subclass implements ``_encode``.

    Parameters
    ----------
    chunk_size : int or None
        Number of descriptors processed at a time, which bounds the memory but does not change the result. None chooses
        a chunk that fits into the cache.
    """

    _: KW_ONLY
    chunk_size: Count | None = None

    _layout = {"n_descriptor_features": Whole()}

    def transform(self, X: Any) -> Any:
        """Encode each bag as one vector.

        Returns
        -------
        array of shape (n, n_features_out)
            Encoded bags, with the array type, device and precision of X. An empty bag gives zeros.
        """
        given = self._read(X)
        return given.answer(self._encode_bags(given))

    def _encode_bags(self, given):
        bags = given.data
        with torch.no_grad():
            return self._encode(Bags(bags.values, bags.offsets), given.dtype, given.device)

    def _encode(self, bags, dtype, device):
        raise NotImplementedError


@declared
class Aggregator(BagPooling):
    """Base of the aggregations that learn from the descriptors of all bags.

    Parameters
    ----------
    random_state : int, RandomState or None
        Seeds everything random in `fit`. Pass an int to get the same model each time.
    """

    _: KW_ONLY
    random_state: RandomState = None

    _layout = {
        "shift": Array("n_descriptor_features"),
        "scale": RealNumber(),
    }

    def _keep(self, sample, namespace, **state):
        """Set the fitted state: numpy arrays and plain values."""
        self._state = {
            **state,
            "shift": sample.units.shift,
            "scale": sample.units.scale,
            "n_descriptor_features": sample.blocks.shape[1],
            "namespace": namespace,
        }

    @property
    def _units(self):
        return Units(np.asarray(self._state["shift"]), self._state["scale"])
