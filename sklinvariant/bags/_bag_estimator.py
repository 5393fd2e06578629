"""The base of estimators of bags of local descriptors."""

from dataclasses import KW_ONLY

import numpy as np
import torch
from sklearn.utils import Tags

from sklinvariant._settings import detached
from sklinvariant.bags._descriptor_sets import DescriptorSets
from sklinvariant.base import (
    EXACT_IN_FLOAT32,
    ArrayKind,
    Count,
    TorchEstimator,
    as_tensor,
    check_rows,
    declared,
    plain_tensor,
    refuse_non_numbers,
    refuse_none,
    to_numpy,
)
from sklinvariant.ops import check_reach, compute_dtype

# the entry for X of the methods that take bags
BAGS = """
X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
    Bags of local descriptors.
"""


@declared
class BagEstimator(TorchEstimator):
    """Base of the estimators of bags of local descriptors (see `DescriptorSets`).

    Parameters
    ----------
    descriptor_dim : int or None
        Number of features d of a descriptor, by which flat rows ``(n, m * d)`` are split into m descriptors. None
        treats each row as one descriptor.
    """

    _shared_docs = BAGS
    _: KW_ONLY
    descriptor_dim: Count | None = None

    def _check_bags(self, X, *, reset, allow_empty=True):
        """The checked bags as tensors on their device, and the `ArrayKind` of X.

        Accepts a DescriptorSets, a list or object array of (n_i, d) arrays, an array (n, m, d), feature maps
        (n, h, w, d), and flat rows (n, m * d) that ``descriptor_dim`` splits into descriptors (without it each row is a
        bag of one descriptor).
        """
        refuse_none(self, X, "bags of descriptors")
        if isinstance(X, torch.Tensor) and X.is_nested:
            X = list(X.unbind())
        refuse_non_numbers(self, X, "bags of descriptors")
        container = ArrayKind(X)
        if isinstance(X, DescriptorSets) or _looks_ragged(X) or getattr(X, "ndim", 2) in (3, 4):
            bags = X if isinstance(X, DescriptorSets) else DescriptorSets.from_bags(_on_host_or_tensor(X))
            bags = DescriptorSets(plain_tensor(detached(as_tensor(bags.values))), bags.offsets)
            if len(bags) == 0:
                raise ValueError("X holds 0 sample(s), but a minimum of 1 is required. Pass at least one bag")
            d = bags.values.shape[1]
            if d == 0:
                raise ValueError("the descriptors have 0 feature(s), but a minimum of 1 is required")
            if reset:
                self.n_features_in_ = d
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            else:
                self._check_width(d)
            values, largest = bags.values, bags.largest_value()
            if values.is_floating_point():
                check_reach(largest, compute_dtype(values.dtype), "X", fitting=reset, wide=True)
            elif largest > EXACT_IN_FLOAT32:
                bags = DescriptorSets(values.double(), bags.offsets)
        else:
            bags = self._check_rows(X, reset)
        if reset and len(bags.values) == 0:
            raise ValueError(
                f"all {len(bags)} bags are empty, but {type(self).__name__} needs descriptors. Pass at least one "
                "bag that is not empty"
            )
        return bags, container

    def _check_width(self, d):
        expected = self._state["n_descriptor_features"]
        if d != expected:
            raise ValueError(
                f"the bags have descriptors of {d} features, but {type(self).__name__} is expecting {expected} "
                "features as input. Pass descriptors of the same extractor as in fit"
            )

    def _check_rows(self, X, reset):
        dim = self.descriptor_dim
        X = check_rows(self, X, reset=reset)
        if dim is not None and X.shape[1] % dim:
            raise ValueError(
                f"rows of {X.shape[1]} features cannot be split into descriptors of descriptor_dim={dim}. Set "
                "descriptor_dim to a divisor of the number of features"
            )
        return DescriptorSets.from_bags(X.reshape(len(X), -1, dim or X.shape[1]))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _looks_ragged(X):
    """Whether X is a sequence of bags, which `DescriptorSets.from_bags` checks."""
    if getattr(X, "ndim", None) == 1 and X.dtype == object:
        return True
    return isinstance(X, (list, tuple)) and (len(X) == 0 or any(map(_looks_like_a_bag, X)))


def _looks_like_a_bag(item):
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and isinstance(item[0], (list, tuple, np.ndarray))
    return getattr(item, "ndim", 0) >= 2


def _on_host_or_tensor(X):
    """Convert arrays of other libraries to numpy; return tensors and lists unchanged."""
    return X if isinstance(X, (list, tuple, torch.Tensor)) else to_numpy(X)
