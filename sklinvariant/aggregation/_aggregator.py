"""What the aggregation estimators share: bags in, one vector a bag out."""

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from sklinvariant._base import DEVICE, BagEstimator, check_fitted, resolve_device
from sklinvariant._compat import CallbackSupportMixin
from sklinvariant._constraints import COUNT
from sklinvariant._layout import Array, Number, Whole
from sklinvariant.kernels import compute_dtype
from sklinvariant.networks import Bags, Units


class Aggregator(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BagEstimator):
    """A transformer of bags of descriptors to vectors; a subclass says how in ``_encode``."""

    _layout = {
        "shift": Array("n_descriptor_features"),
        "scale": Number(),
        "n_descriptor_features": Whole(),
    }
    _parameter_constraints = {
        "descriptor_dim": [COUNT, None],
        "chunk_size": [COUNT, None],
        "device": DEVICE,
        "random_state": ["random_state"],
    }

    def transform(self, X):
        """Encode each bag as one vector.

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
            Bags of local descriptors.

        Returns
        -------
        array of shape (n, n_features_out)
            In the kind of array, on the device and in the precision of X. An empty bag gives zeros.
        """
        check_fitted(self, "transform", X)
        bags, container = self._check_bags(X, reset=False)
        return container.wrap(self._encode_bags(bags))

    def _encode_bags(self, bags):
        dtype = compute_dtype(bags.values.dtype)
        device = resolve_device(self.device, bags.values)
        with torch.no_grad():
            return self._encode(Bags(bags.values, bags.offsets), dtype, device)

    def _encode(self, bags, dtype, device):
        raise NotImplementedError

    def _keep(self, sample, container, **state):
        """Set the fitted state: numpy arrays and plain values."""
        self._state = {
            **state,
            "shift": sample.units.shift,
            "scale": sample.units.scale,
            "n_descriptor_features": int(sample.values.shape[1]),
            "namespace": container.name,
        }

    @property
    def _units(self):
        return Units(np.asarray(self._state["shift"]), self._state["scale"])
