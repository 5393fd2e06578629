"""Bag of Words with learned codewords: T1 of Katharopoulos et al. 2017, eq. 6-8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

import numpy as np

from sklinvariant._compat import HasMethods
from sklinvariant.aggregation._codebook import learn_codebook, learn_mixture, scale_gamma
from sklinvariant.aggregation._learned._learned_aggregation import AggregationLearner
from sklinvariant.base import Array, Count, FiniteArray, FittedState, Maybe, Positive, RealNumber, declared
from sklinvariant.networks import SoftBagOfWords


@declared
class LearnedBoW(AggregationLearner):
    r"""Bag of Words with codewords, covariances and γ that are learned together with a linear model.

    For the m descriptors f of a bag and codewords C with covariances Σ (equations 6-8 of [1]_),

    .. math:: R_k = \frac{1}{m} \sum_n \frac{D_k(f_n)}{\sum_j D_j(f_n)}, \qquad
        D_k(f) = \exp(-\gamma (f - C_k)^T \Sigma_k^{-1} (f - C_k))

    ``transform`` returns R, as a replacement for `BagOfWords`. ``predict`` uses the linear model.

    `LearnedVLAD` is on average more accurate, with a longer representation. For the cells of a pretrained network, use
    `SecondOrderPooling`, which is more accurate and is not trained.

    Parameters
    ----------
    n_codewords : int
        Number of codewords, which is also the number of features of the representation.
    init : {"kmeans", "gmm", "random"}, array (k, d), clusterer or mixture
        Initial codebook. "gmm" or a mixture initialises the covariances as well. You can pass a fitted `BagOfWords`,
        `VLAD` or `FisherVector`, or any clusterer of scikit-learn, fitted or not.
    covariance : {"diag", "identity"}
        "diag" learns a diagonal Σ for each codeword, "identity" keeps the identity.
    gamma : "scale" or float
        Initial γ, in 1 / squared units of the descriptors. "scale" is 2 over the mean difference between the squared
        distances of a descriptor to its second nearest and nearest codewords.
    learn_gamma : bool
        Whether γ is learned as well, which the paper mentions as future work.

    Attributes
    ----------
    codebook_ : ndarray of shape (n_codewords, d)
        The learned codewords, in the units of the descriptors.
    covariances_ : ndarray of shape (n_codewords, d)
        Diagonals of Σ; only with ``covariance="diag"``.
    gamma_ : float
        The learned γ.

    See Also
    --------
    BagOfWords : Finds the codewords by clustering.
    LearnedVLAD : Longer vectors from fewer codewords.

    References
    ----------
    .. [1] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import LearnedBoW
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> bags = rng.normal(size=(40, 10, 3)) * (1 + 3 * y)[:, None, None]
    >>> model = LearnedBoW(4, max_epochs=30, random_state=0).fit(bags, y)
    >>> model.transform(bags).shape, model.score(bags, y) > 0.9
    ((40, 4), True)
    """

    _layout = {
        "codebook": Array("k", "n_descriptor_features"),
        "gamma": RealNumber(),
        "covariances": Maybe(Array("k", "n_descriptor_features")),
    }
    n_codewords: Count = 64
    _: KW_ONLY
    init: Literal["kmeans", "gmm", "random"] | FiniteArray | Annotated[Any, HasMethods(["fit"])] = "kmeans"
    covariance: Literal["diag", "identity"] = "diag"
    gamma: Literal["scale"] | Positive = "scale"
    learn_gamma: bool = True
    feature_map: Literal["chi2"] | Callable | None = "chi2"

    codebook_ = FittedState("Learned codewords, (n_codewords, d).")
    covariances_ = FittedState("Diagonals of the learned Σ, (n_codewords, d).")
    gamma_ = FittedState("The learned γ.")

    def _start_encoder(self, sample, dtype, generator, n_samples):
        covariances = None
        mixture = None if isinstance(self.init, str) and self.init == "gmm" else self.init
        if mixture is None or hasattr(mixture, "means_"):
            mixture, _ = learn_mixture(
                sample, mixture, self.n_codewords, max_iter=100, tol=1e-3, generator=generator, n_samples=n_samples
            )
            codebook: Any = mixture.means
            # γ carries the unit: Σ is relative to the mean variance
            covariances = np.maximum(mixture.variances / max(float(mixture.variances.mean()), 1e-300), 1e-6)
        else:
            codebook, _ = learn_codebook(
                sample, self.init, self.n_codewords, max_iter=100, tol=1e-4, generator=generator, n_samples=n_samples
            )
        if self.covariance == "identity":
            covariances = None
        elif covariances is None:
            covariances = np.ones_like(codebook)
        gamma = scale_gamma(sample, codebook, covariances) if self.gamma == "scale" else float(self.gamma)
        return self._encoder(codebook, covariances, gamma, sample.units, dtype)

    def _build_encoder(self, state, units, dtype):
        return self._encoder(state["codebook"], state.get("covariances"), state["gamma"], units, dtype)

    def _encoder(self, codebook, covariances, gamma, units, dtype):
        return SoftBagOfWords(
            codebook,
            covariances,
            gamma,
            units,
            dtype=dtype,
            learn_gamma=self.learn_gamma,
            chunk_size=self.chunk_size,
        )

    @property
    def _n_features_out(self):
        return len(self.codebook_)
