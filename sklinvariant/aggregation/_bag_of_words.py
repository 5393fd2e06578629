"""Bag of Words: the histogram of a bag's descriptors over codewords, hard (Csurka et al. 2004) or soft."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch

from sklinvariant._compat import HasMethods, fit_context, reports_fit
from sklinvariant.aggregation._aggregator import Aggregator
from sklinvariant.aggregation._codebook import draw_sample, learn_codebook, scale_gamma
from sklinvariant.base import (
    Array,
    Count,
    FiniteArray,
    FittedState,
    NonNegative,
    Positive,
    RealNumber,
    declared,
    torch_generator,
)
from sklinvariant.networks import SoftBagOfWords
from sklinvariant.ops import count_codewords, nearest_codewords


@declared
class CodebookAggregator(Aggregator):
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
    subsample : int or None
        Maximum number of descriptors from which the codebook is learned; None uses all.

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
    }
    n_codewords: Count = 64
    _: KW_ONLY
    assignment: Literal["hard", "soft"] = "hard"
    gamma: Literal["scale"] | Positive = "scale"
    codebook: FiniteArray | Annotated[Any, HasMethods(["fit"])] | None = None
    max_iter: Count = 100
    tol: NonNegative = 1e-4
    subsample: Count | None = 200_000

    codebook_ = FittedState("Codewords, (n_codewords, d), in the units of the descriptors.")
    gamma_ = FittedState("The γ of the soft assignment (eq. 3), in 1 / squared units of the descriptors.")

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the codebook from the descriptors of all bags.

        Raises
        ------
        ValueError
            If a bag is not numeric or contains NaN or infinity (the message names the bag), if all bags are empty, or
            if there are fewer descriptors than codewords.
        """
        given = self._read(X, reset=True)
        generator = torch_generator(self.random_state)
        sample = draw_sample(given.data, self.subsample, generator, given.device, given.dtype)
        codebook, n_iter = learn_codebook(
            sample,
            self.codebook,
            self.n_codewords,
            max_iter=self.max_iter,
            tol=self.tol,
            generator=generator,
            n_samples=len(given.data),
        )
        gamma = scale_gamma(sample, codebook) if self.gamma == "scale" else float(self.gamma)
        self._keep(sample, given.kind.name, codebook=codebook, gamma=gamma)
        self.n_iter_ = max(n_iter, 1)
        return self


@declared
class BagOfWords(CodebookAggregator):
    """Bag of Words: the frequency of each codeword of a k-means codebook in a bag.

    ``R_k = (1/m) Σ_n [k = argmin_j ‖f_n - C_j‖]``, or with ``assignment="soft"`` the mean of
    ``exp(-γ ‖f_n - C_k‖²) / Σ_j exp(-γ ‖f_n - C_j‖²)`` (eq. 2 and 3 of [1]_).

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
            encoder = SoftBagOfWords(
                self.codebook_, None, self.gamma_, self._units, dtype=dtype, chunk_size=self.chunk_size
            )
            return encoder.to(device)(bags)
        codebook = torch.tensor(self.codebook_, dtype=dtype, device=device)
        labels = nearest_codewords(bags.values, codebook, chunk_size=self.chunk_size)
        counts = count_codewords(labels, bags.offsets, len(codebook), dtype)
        sizes = torch.as_tensor(np.diff(bags.offsets), dtype=dtype, device=device)
        return counts / sizes.clamp(min=1)[:, None]

    @property
    def _n_features_out(self):
        return len(self.codebook_)
