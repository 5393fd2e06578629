"""The base of estimators of bags of local descriptors."""

from __future__ import annotations

from dataclasses import KW_ONLY

from sklinvariant.bags._bag_reader import BagReader
from sklinvariant.base import Count, TorchEstimator, declared

# the entry for X of the methods that take bags
BAGS = """
X : DescriptorSets, list of (n_i, d) arrays, (n, m, d), (n, h, w, d) or (n, n_features)
    Bags of local descriptors. Feature maps have their channels last: transpose the (n, d, h, w) of a network of torch.
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

    _reader = BagReader()
    _shared_docs = BAGS
    _: KW_ONLY
    descriptor_dim: Count | None = None
