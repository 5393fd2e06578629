"""Covariance of a bag's descriptors, with a matrix square root (Lin and Maji 2017; Li, Xie, Wang, Zuo 2017)."""

from __future__ import annotations

from dataclasses import KW_ONLY
from functools import partial
from numbers import Real
from typing import Annotated

import numpy as np
import torch

from sklinvariant._settings import in_own_precision
from sklinvariant.aggregation._bag_module import BagModule
from sklinvariant.aggregation._moment_pooling import MomentPooling, bag_moments, whole_bags
from sklinvariant.base import Number, declared
from sklinvariant.ops import chunk_rows, float64_device, safe_unit, take_rows, unit_length

_MATRIX_BYTES = 16 << 20  # the matrices of the bags that are processed together


@in_own_precision
def bag_products(x: torch.Tensor, sizes: torch.Tensor, *, center: bool) -> torch.Tensor:
    """``1/m Σ xxᵀ`` of the m descriptors of each bag, around their mean if ``center``: (N, d) -> (n, d, d)."""
    if center:
        x = x - bag_moments(x, sizes, 1).repeat_interleave(sizes, dim=0)
    counts = sizes.tolist()
    if len(set(counts)) == 1 and counts[0]:
        x = x.view(len(counts), counts[0], -1)
        products = x.mT @ x
    else:
        products = torch.stack([bag.T @ bag for bag in x.split(counts)])
    return products / sizes.clamp_min(1)[:, None, None]


@in_own_precision
def matrix_power(matrices: torch.Tensor, power: float) -> torch.Tensor:
    """A power of the eigenvalues of positive semi-definite matrices (n, d, d)."""
    if power == 1:
        return matrices
    values, vectors = torch.linalg.eigh(matrices)
    return (vectors * values.clamp_min(0).pow(power)[:, None]) @ vectors.mT


@declared
class SecondOrderPooling(MomentPooling):
    r"""Covariance of a bag's descriptors, raised to a power: which features occur together, and how strongly.

    For the m descriptors f of a bag, whose mean is μ,

    .. math:: C^p, \qquad C = \frac{1}{m} \sum_n (f_n - \mu)(f_n - \mu)^T

    The output is the upper triangle of this matrix, :math:`d (d + 1) / 2` values for d features. Values off the
    diagonal are multiplied by :math:`\sqrt{2}`, so that scalar products are those of the whole matrices.

    A simple pooling without codewords, and a baseline for the other aggregations, in particular on the feature maps of
    a network. A bag with one descriptor has no covariance: its output is zeros, unless ``center=False``. The output is
    long, so reduce the descriptors to about 64 features first, for example with ``OnDescriptors(PCA(64))``.

    Parameters
    ----------
    power : float
        Power p of the eigenvalues, more than 0 and at most 1. 0.5 is the matrix square root, which is the best in the
        references. 1 is the covariance itself, which a few strong features dominate.
    center : bool
        Whether the mean of the bag is subtracted. With False, C also contains the products of the means.
    normalize : bool
        Whether vectors are divided by their norm.

    See Also
    --------
    GeMPooling : Pools single features.
    FisherVector : First and second moments by the components of a mixture.

    References
    ----------
    Lin, Maji (2017). Improved bilinear pooling with CNNs. Section 3.
    Li, Xie, Wang, Zuo (2017). Is second-order information helpful for large-scale visual recognition? Section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant import SecondOrderPooling
    >>> bags = [np.array([[2.0, 0.0], [-2.0, 0.0]]), np.array([[0.0, 3.0], [0.0, -3.0]])]
    >>> SecondOrderPooling(normalize=False).fit_transform(bags)
    array([[2., 0., 0.],
           [0., 0., 3.]])
    """

    _: KW_ONLY
    power: Annotated[float, Number(Real, 0, 1, closed="right")] = 0.5
    center: bool = True
    normalize: bool = True

    def _encode(self, bags, dtype, device):
        # a square root enlarges rounding errors of small eigenvalues, so everything is computed in float64
        values, offsets = bags
        d, wide = values.shape[1], float64_device(device)
        answer = torch.empty(len(offsets) - 1, self._n_features_out, dtype=dtype, device=device)
        i, j = torch.triu_indices(d, d, device=wide)
        weights = torch.where(i == j, 1.0, 2.0).double().sqrt()
        like = torch.empty(0, dtype=torch.float64, device=wide)
        rows = chunk_rows(d, torch.float64, device, self.chunk_size)
        for first, last in whole_bags(offsets, rows, most=max(1, _MATRIX_BYTES // (8 * d * d))):
            x = take_rows(values, int(offsets[first]), int(offsets[last]), like)
            unit = safe_unit(x)
            sizes = torch.from_numpy(np.diff(offsets[first : last + 1])).to(wide)
            matrices = matrix_power(bag_products(x / unit, sizes, center=self.center), self.power)
            vectors = matrices[:, i, j] * weights
            vectors = unit_length(vectors) if self.normalize else vectors * unit ** (2 * self.power)
            answer[first:last] = vectors
        return answer

    def _modules_of_methods(self, dtype):
        settings = {"power": self.power, "center": self.center, "normalize": self.normalize}
        return {"transform": lambda: BagModule(partial(_pool_equal, **settings))}

    @property
    def _n_features_out(self):
        d = self._state["n_descriptor_features"]
        return d * (d + 1) // 2


def _pool_equal(bags, power, center, normalize):
    """The pooling of bags of equal size, by operations that can be exported; ONNX has no eigenvalues."""
    x = bags.values.double()
    x = x - x.mean(1, keepdim=True) if center else x
    matrices = matrix_power(x.mT @ x / x.shape[1], power)
    i, j = torch.triu_indices(x.shape[2], x.shape[2], device=x.device)
    vectors = matrices[:, i, j] * torch.where(i == j, 1.0, 2.0).double().sqrt()
    return (torch.nn.functional.normalize(vectors) if normalize else vectors).to(bags.values.dtype)
