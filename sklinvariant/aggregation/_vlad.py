"""VLAD: the mean residual of a bag's descriptors to each codeword (Jégou et al. 2010)."""

from __future__ import annotations

from sklinvariant._parameters import Count, FiniteArray, NonNegative, Positive, RandomState, declared
from dataclasses import KW_ONLY
from typing import Any, Annotated, Literal
from sklearn.utils._param_validation import HasMethods

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions

from sklinvariant.aggregation._bag_of_words import CodebookAggregator
from sklinvariant.kernels import count_codewords, nearest_codewords, sum_by_codeword
from sklinvariant.networks import SoftVLAD, normalize_vlad


@declared
class VLAD(CodebookAggregator):
    """Vector of locally aggregated descriptors: where a bag's descriptors lie around each codeword.

    ``R_k = (1/m) Σ_n a_nk (f_n - C_k)``, a_nk being 1 for the nearest codeword (the original) or the soft share
    of `BagOfWords` (eq. 9 of [2]_ with Σ = 1); flattened to ``n_codewords * d`` and normalised.

    Parameters
    ----------
    n_codewords : int
        Size of the codebook; the representation has ``n_codewords * d`` features.
    assignment : {"hard", "soft"}
        One codeword a descriptor, or a share for each.
    normalization : {"l2", "power", "intra"} or None
        "l2" divides by the norm; "power" takes signed square roots first; "intra" normalises the residual of each
        codeword first (Arandjelović & Zisserman 2013). None gives the mean residuals in data units.
    gamma : "scale" or float
        Sharpness of the soft assignment; see `BagOfWords`.
    codebook : array of shape (k, d), clusterer, mixture or None
        Codewords to use, or an estimator that has ``cluster_centers_`` or ``means_`` (fitted, or to be fitted).
    max_iter : int
        Most iterations of k-means.
    tol : float
        k-means stops when the codewords move less than this times the variance of the descriptors.
    subsample : int or None
        Most descriptors that the codebook is learned from; None takes all.
    descriptor_dim : int or None
        Cuts flat rows ``(n, m * d)`` into m descriptors of this many features; None takes a row for one descriptor.
    chunk_size : int or None
        Descriptors at a time; None fits the chunk to the cache. Bounds the memory, does not change the result.
    random_state : int, RandomState or None
        Seeds the start of k-means.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_codewords, d)
        The codewords.
    gamma_ : float
        The γ that is used when the assignment is soft.
    n_iter_ : int
        Iterations of k-means.

    References
    ----------
    .. [1] Jégou et al., "Aggregating local descriptors into a compact image representation", 2010.
    .. [2] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import VLAD
    >>> bags = [np.array([[0.0, 1.0], [0.0, 3.0]]), np.array([[9.0, 9.0]])]
    >>> VLAD(2, codebook=[[0, 0], [9, 9]], normalization=None).fit_transform(bags)
    array([[0., 2., 0., 0.],
           [0., 0., 0., 0.]])
    """

    n_codewords: Count = 64
    _: KW_ONLY
    assignment: Literal["hard", "soft"] = "hard"
    normalization: Literal["l2", "power", "intra"] | None = "power"
    gamma: Literal["scale"] | Positive = "scale"
    codebook: FiniteArray | Annotated[Any, HasMethods(["fit"])] | None = None
    max_iter: Count = 100
    tol: NonNegative = 1e-4
    subsample: Count | None = 200_000
    descriptor_dim: Count | None = None
    chunk_size: Count | None = None
    random_state: RandomState = None


    def _encode(self, bags, dtype, device):
        # soft and hard share the encoder's units, so that residuals have a size near 1
        encoder = SoftVLAD(
            self.codebook_,
            None,
            self.gamma_,
            self._units,
            dtype=dtype,
            normalization=self.normalization,
            chunk_size=self.chunk_size,
        ).to(device)
        if self.assignment == "soft":
            return encoder(bags)
        codebook = torch.as_tensor(self.codebook_, dtype=dtype, device=device)
        labels = nearest_codewords(bags.values, codebook, chunk_size=self.chunk_size)
        sums = sum_by_codeword(
            bags.values, labels, bags.offsets, len(codebook), encoder.codebook, encoder.shift, encoder.scale
        )
        counts = count_codewords(labels, bags.offsets, len(codebook), dtype)
        sizes = torch.as_tensor(np.diff(bags.offsets), dtype=dtype, device=device).clamp(min=1)
        residuals = (sums - counts[:, :, None] * encoder.codebook) / sizes[:, None, None]
        return normalize_vlad(residuals, self.normalization, encoder.scale)

    @property
    def _n_features_out(self):
        return self.codebook_.size
