"""Generalised mean of a bag's descriptors, from the mean to the maximum (Radenović, Tolias, Chum 2018)."""

from __future__ import annotations

from dataclasses import KW_ONLY
from functools import partial
from numbers import Real
from typing import Annotated

import numpy as np
import torch

from sklinvariant.aggregation._bag_module import BagModule
from sklinvariant.aggregation._moment_pooling import MomentPooling, bag_moments, whole_bags
from sklinvariant.base import Number, declared
from sklinvariant.ops import chunk_rows, moment, take_rows


@declared
class GeMPooling(MomentPooling):
    r"""Generalised mean of a bag's descriptors, from the mean to the maximum.

    Each feature f is pooled over the m descriptors with the order p:

    .. math:: \left(\frac{1}{m} \sum_{i=1}^m |f_i|^p\right)^{1/p}

    A simple pooling without codewords, and a baseline for the other aggregations, in particular on the feature maps of
    a network.

    Parameters
    ----------
    order : float
        Order p, from 1 (the signed mean) to inf (the signed maximum). Larger orders emphasise the descriptors with the
        largest values. Orders in between ignore signs, so they suit non-negative features, such as those after a ReLU.

    See Also
    --------
    SecondOrderPooling : Pools products of two features.
    SpatialPooling : The same moments over the regions of grids, which keeps positions.

    References
    ----------
    Radenović, Tolias, Chum (2018). Fine-tuning CNN image retrieval with no human annotation. Section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import GeMPooling
    >>> bags = [np.array([[1.0, 0.0], [3.0, 4.0]]), np.array([[2.0, 2.0]])]
    >>> GeMPooling(order=1).fit_transform(bags)
    array([[2., 2.],
           [2., 2.]])
    >>> GeMPooling(order=np.inf).fit_transform(bags)
    array([[3., 4.],
           [2., 2.]])
    """

    order: Annotated[float, Number(Real, 1, None, closed="both")] = 3.0
    _: KW_ONLY

    def _encode(self, bags, dtype, device):
        values, offsets = bags
        answer = torch.empty(len(offsets) - 1, values.shape[1], dtype=dtype, device=device)
        rows = chunk_rows(values.shape[1], dtype, device, self.chunk_size)
        for first, last in whole_bags(offsets, rows, most=rows):
            x = take_rows(values, int(offsets[first]), int(offsets[last]), answer)
            sizes = torch.from_numpy(np.diff(offsets[first : last + 1])).to(device)
            answer[first:last] = bag_moments(x, sizes, self.order)
        return answer

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: BagModule(partial(_equal_moments, order=self.order))}

    @property
    def _n_features_out(self):
        return self._state["n_descriptor_features"]


def _equal_moments(bags, order):
    return moment(bags.values, order, 1)
