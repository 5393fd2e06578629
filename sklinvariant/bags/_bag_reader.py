"""The reader of bags of local descriptors."""

import numpy as np
import torch

from sklinvariant._settings import detached
from sklinvariant.bags._descriptor_sets import DescriptorSets
from sklinvariant.base import (
    Input,
    RowReader,
    as_tensor,
    computing_device,
    dense_tensor,
    precision_of,
    set_n_features,
    to_numpy,
)
from sklinvariant.ops import check_reach


class BagReader(RowReader):
    """Reads bags of descriptors as a `DescriptorSets` whose values are a tensor.

    Accepts a DescriptorSets, a list or object array of (n_i, d) arrays, an array (n, m, d), feature maps (n, h, w, d),
    and flat rows (n, m * d) that ``descriptor_dim`` splits into descriptors (without it each row is a bag of one
    descriptor).
    """

    needs = "bags of descriptors"
    three_d_array = True
    takes_bags = True

    def _check(self, estimator, X, kind, reset):
        if isinstance(X, torch.Tensor) and X.is_nested:
            X = list(X.unbind())
        if isinstance(X, DescriptorSets) or _looks_ragged(X) or getattr(X, "ndim", 2) in (3, 4):
            given = self._check_bags(estimator, X, kind, reset)
        else:
            given = super()._check(estimator, X, kind, reset)
            given.data = _split_rows(given.data, getattr(estimator, "descriptor_dim", None))
        if reset and len(given.data.values) == 0:
            raise ValueError(
                f"all {len(given.data)} bags are empty, but {type(estimator).__name__} needs descriptors. Pass at "
                "least one bag that is not empty"
            )
        return given

    def _rows(self, data):
        return data.values, data.sizes

    def _with_sizes(self, rows, sizes):
        return DescriptorSets._of_rows(rows, np.concatenate([[0], np.concatenate(sizes).cumsum()]))

    def _check_bags(self, estimator, X, kind, reset):
        # arrays of other libraries become numpy
        bags = DescriptorSets.from_bags(to_numpy(X) if kind.namespace is not None and hasattr(X, "ndim") else X)
        bags = DescriptorSets(dense_tensor(detached(as_tensor(bags.values))), bags.offsets)
        if len(bags) == 0:
            raise ValueError("X holds 0 sample(s), but a minimum of 1 is required. Pass at least one bag")
        d = bags.values.shape[1]
        if d == 0:
            raise ValueError("the descriptors have 0 feature(s), but a minimum of 1 is required")
        if reset:
            set_n_features(estimator, d)
        elif d != (expected := estimator._state["n_descriptor_features"]):
            raise ValueError(
                f"the bags have descriptors of {d} features, but {type(estimator).__name__} is expecting {expected} "
                "features as input. Pass descriptors of the same extractor as in fit"
            )
        largest = bags.largest_value()
        dtype = precision_of(bags.values, largest)
        if bags.values.is_floating_point():
            check_reach(largest, dtype, "X", fitting=reset, wide=True)
        return Input(bags, kind, computing_device(estimator, kind), dtype)


def _split_rows(rows, dim):
    """Rows (n, m * d) as bags of m descriptors."""
    n_features = rows.shape[1]
    if dim is not None and n_features % dim:
        raise ValueError(
            f"rows of {n_features} features cannot be split into descriptors of descriptor_dim={dim}. Set "
            "descriptor_dim to a divisor of the number of features"
        )
    rows = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
    return DescriptorSets.from_bags(rows.reshape(len(rows), -1, dim or n_features))


def _looks_ragged(X):
    """Whether X is a sequence of bags, which `DescriptorSets.from_bags` checks."""
    if getattr(X, "ndim", None) == 1 and X.dtype == object:
        return True
    return isinstance(X, (list, tuple)) and (len(X) == 0 or any(map(_looks_like_a_bag, X)))


def _looks_like_a_bag(item):
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and isinstance(item[0], (list, tuple, np.ndarray))
    return getattr(item, "ndim", 0) >= 2
