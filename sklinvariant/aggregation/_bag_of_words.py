"""Bag of Words: the histogram of a bag's descriptors over codewords, hard (Csurka et al. 2004) or soft."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

import numpy as np
import torch

from sklinvariant._compat import HasMethods
from sklinvariant.accumulate import codeword_shares, step_kmeans
from sklinvariant.aggregation._bag_module import BagModule
from sklinvariant.aggregation._codebook import learn_codebook, scale_gamma
from sklinvariant.aggregation._vocabulary import VocabularyAggregator
from sklinvariant.base import (
    Array,
    Count,
    FiniteArray,
    FittedState,
    Maybe,
    NonNegative,
    Positive,
    RealNumber,
    as_numpy,
    as_tensor,
    declared,
)
from sklinvariant.networks import SoftBagOfWords
from sklinvariant.ops import count_codewords, nearest_codewords


@declared
class CodebookAggregator(VocabularyAggregator):
    """Base of BagOfWords and VLAD: learns the codebook and assigns descriptors to it.

    Parameters
    ----------
    n_codewords : int
        Number of codewords. More give a longer representation.
    assignment : {"hard", "soft"}
        "hard" assigns each descriptor to its nearest codeword, "soft" to all codewords with weights.
    gamma : "scale" or float
        Sharpness of the soft assignment, in 1 / squared units of the descriptors. "scale" is 2 over the mean
        difference between the squared distances of a descriptor to its second nearest and nearest codewords.
    codebook : array of shape (k, d), clusterer, mixture or None
        Codewords to use, or an estimator with ``cluster_centers_`` or ``means_``, which is fitted unless it already is.
        None runs k-means, initialised with random descriptors.
    max_iter : int
        Maximum number of iterations of k-means.
    tol : float
        k-means stops when the codewords move by less than this value times the variance of the descriptors.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_codewords, d)
        The codewords.
    gamma_ : float
        The γ of the soft assignment.
    n_iter_ : int
        Number of iterations of k-means.
    """

    _fits_in_parts = True
    _layout = {
        "codebook": Array("k", "n_descriptor_features"),
        "gamma": RealNumber(),
        "shares": Maybe(Array("k")),
    }
    n_codewords: Count = 64
    _: KW_ONLY
    assignment: Literal["hard", "soft"] = "hard"
    gamma: Literal["scale"] | Positive = "scale"
    codebook: FiniteArray | Annotated[Any, HasMethods(["fit"])] | None = None
    max_iter: Count = 100
    tol: NonNegative = 1e-4

    codebook_ = FittedState("Codewords, (n_codewords, d), in the units of the descriptors.")
    gamma_ = FittedState("The γ of the soft assignment (eq. 3), in 1 / squared units of the descriptors.")

    def _continued_entries(self) -> tuple[str, ...]:
        return ("n_seen", "shares")

    def _learn(self, sample, generator, n_samples):
        codebook, n_iter = learn_codebook(
            sample,
            self.codebook,
            self.n_codewords,
            max_iter=self.max_iter,
            tol=self.tol,
            generator=generator,
            n_samples=n_samples,
        )
        shares = codeword_shares(sample.blocks, sample.inward(codebook))
        return {"codebook": codebook, "shares": as_numpy(shares), "gamma": self._gamma_of(sample, codebook)}, n_iter

    def _step(self, sample, step):
        state = self._state
        codebook, shares = state["codebook"], state["shares"]
        if self.codebook is None:
            self._check_unchanged("n_codewords", len(codebook))
            moved, shares = step_kmeans(sample.blocks, sample.inward(codebook), as_tensor(shares), step)
            codebook, shares = sample.outward(moved), as_numpy(shares)
        gamma = self._gamma_of(sample, codebook)
        if self.gamma == "scale":  # the mean of 1 / γ
            gamma = 1 / ((1 - step) / state["gamma"] + step / gamma)
        return {"codebook": codebook, "shares": shares, "gamma": gamma}

    def _encoder(self, dtype):
        """The module that encodes bags with soft assignment."""
        raise NotImplementedError

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: BagModule(self._encoder(dtype), hard=self.assignment == "hard")}

    def _gamma_of(self, sample, codebook):
        return scale_gamma(sample, codebook) if self.gamma == "scale" else float(self.gamma)


@declared
class BagOfWords(CodebookAggregator):
    r"""Bag of Words: the frequency of each codeword of a k-means codebook in a bag.

    For the m descriptors f of a bag and the codewords C (equation 2 of [1]_),

    .. math:: R_k = \frac{1}{m} \sum_n \left[k = \arg\min_j \lVert f_n - C_j \rVert\right]

    With ``assignment="soft"`` (equation 3),

    .. math:: R_k = \frac{1}{m} \sum_n
        \frac{\exp(-\gamma \lVert f_n - C_k \rVert^2)}{\sum_j \exp(-\gamma \lVert f_n - C_j \rVert^2)}

    See Also
    --------
    LearnedBoW : Learns the codewords with the classifier.

    References
    ----------
    .. [1] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import BagOfWords
    >>> bags = [np.array([[0.0, 0.0], [0.1, 0.0]]), np.array([[1.0, 1.0]])]
    >>> BagOfWords(2, codebook=[[0, 0], [1, 1]]).fit_transform(bags)
    array([[1., 0.],
           [0., 1.]])
    """

    def _encode(self, bags, dtype, device):
        if self.assignment == "soft":
            return self._encoder(dtype).to(device)(bags)
        codebook = torch.tensor(self.codebook_, dtype=dtype, device=device)
        labels = nearest_codewords(bags.values, codebook, chunk_size=self.chunk_size)
        counts = count_codewords(labels, bags.offsets, len(codebook), dtype)
        sizes = torch.as_tensor(np.diff(bags.offsets), dtype=dtype, device=device)
        return counts / sizes.clamp(min=1)[:, None]

    def _encoder(self, dtype):
        return SoftBagOfWords(self.codebook_, None, self.gamma_, self._units, dtype=dtype, chunk_size=self.chunk_size)

    @property
    def _n_features_out(self):
        return len(self.codebook_)
