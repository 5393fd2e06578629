"""VLAD: the mean residual of a bag's descriptors to each codeword (Jégou et al. 2010)."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Literal

import numpy as np
import torch

from sklinvariant.aggregation._bag_of_words import CodebookAggregator
from sklinvariant.base import declared
from sklinvariant.networks import SoftVLAD, normalize_vlad
from sklinvariant.ops import count_codewords, nearest_codewords, sum_by_codeword


@declared
class VLAD(CodebookAggregator):
    r"""Vector of locally aggregated descriptors: the mean residual of a bag's descriptors for each codeword.

    For the m descriptors f of a bag and the codewords C,

    .. math:: R_k = \frac{1}{m} \sum_n a_{nk} (f_n - C_k)

    The assignment :math:`a_{nk}` is 1 for the nearest codeword and 0 for the others [1]_. With ``assignment="soft"``
    it is that of `BagOfWords` (equation 9 of [2]_ with Σ = 1). R is flattened to ``n_codewords * d`` values and
    normalised.

    Parameters
    ----------
    normalization : {"l2", "power", "intra"} or None
        "l2" divides by the norm; "power" takes signed square roots before; "intra" normalises the residual of each
        codeword before (Arandjelović & Zisserman 2013). None returns the mean residuals in data units.

    See Also
    --------
    LearnedVLAD : Learns the codewords with the classifier.
    SecondOrderPooling : Has no codewords.

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

    _: KW_ONLY
    normalization: Literal["l2", "power", "intra"] | None = "power"

    def _encode(self, bags, dtype, device):
        # both assignments use the encoder's units, so that residuals are of the order of 1
        encoder = self._encoder(dtype).to(device)
        if self.assignment == "soft":
            return encoder(bags)
        codebook = torch.tensor(self.codebook_, dtype=dtype, device=device)
        labels = nearest_codewords(bags.values, codebook, chunk_size=self.chunk_size)
        sums = sum_by_codeword(
            bags.values, labels, bags.offsets, len(codebook), encoder.codebook, encoder.shift, encoder.scale
        )
        counts = count_codewords(labels, bags.offsets, len(codebook), dtype)
        sizes = torch.as_tensor(np.diff(bags.offsets), dtype=dtype, device=device).clamp(min=1)
        residuals = (sums - counts[:, :, None] * encoder.codebook) / sizes[:, None, None]
        return normalize_vlad(residuals, self.normalization, encoder.scale)

    def _encoder(self, dtype):
        return SoftVLAD(
            self.codebook_,
            None,
            self.gamma_,
            self._units,
            dtype=dtype,
            normalization=self.normalization,
            chunk_size=self.chunk_size,
        )

    @property
    def _n_features_out(self):
        return self.codebook_.size
