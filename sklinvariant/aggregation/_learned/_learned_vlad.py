"""VLAD with learned codewords: T2 of Katharopoulos et al. 2017, eq. 9."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Literal

from sklinvariant.aggregation._learned._learned_bag_of_words import LearnedBoW
from sklinvariant.base import declared
from sklinvariant.networks import SoftVLAD


@declared
class LearnedVLAD(LearnedBoW):
    r"""VLAD with codewords, covariances and γ that are learned together with a linear model.

    For the m descriptors f of a bag and codewords C with covariances Σ (equation 9 of [1]_),

    .. math:: R_k = \frac{1}{m} \sum_n \frac{D_k(f_n)}{\sum_j D_j(f_n)} (f_n - C_k), \qquad
        D_k(f) = \exp(-\gamma (f - C_k)^T \Sigma_k^{-1} (f - C_k))

    R is flattened and normalised. ``transform`` returns it, as a replacement for `VLAD`.

    For the cells of a pretrained network, use `SecondOrderPooling`, which is at least as accurate and is not trained.
    On raw patches the learned codewords are more accurate on average.

    Parameters
    ----------
    n_codewords : int
        Number of codewords; the representation has ``n_codewords * d`` features.
    normalization : {"l2", "power", "intra"} or None
        "l2" divides R by its norm; "power" takes signed square roots before; "intra" normalises the residual of each
        codeword before (Arandjelović & Zisserman 2013). None returns R as in eq. 9 of the paper, in data units.
    feature_map : callable or None
        Differentiable map of the residuals, before the linear model.

    Notes
    -----
    It resembles the layer of NetVLAD (Arandjelović et al. 2016), on fixed descriptors. NetVLAD trains the network below
    as well, and learns the weights of the assignment apart from the codewords.

    See Also
    --------
    VLAD : Finds the codewords by clustering.
    LearnedBoW : Histograms of codewords.
    SecondOrderPooling : The covariance of each bag. Concatenated by `sklearn.pipeline.make_union`, both are on average
        more accurate than either alone.

    References
    ----------
    .. [1] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import LearnedVLAD
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> bags = rng.normal(size=(40, 10, 3)) + y[:, None, None]
    >>> LearnedVLAD(4, max_epochs=5, random_state=0).fit(bags, y).transform(bags).shape
    (40, 12)
    """

    _: KW_ONLY
    normalization: Literal["l2", "power", "intra"] | None = "power"
    feature_map: Callable | None = None

    def _encoder(self, codebook, covariances, gamma, units, dtype):
        return SoftVLAD(
            codebook,
            covariances,
            gamma,
            units,
            dtype=dtype,
            learn_gamma=self.learn_gamma,
            normalization=self.normalization,
            chunk_size=self.chunk_size,
        )

    @property
    def _n_features_out(self):
        return self.codebook_.size
