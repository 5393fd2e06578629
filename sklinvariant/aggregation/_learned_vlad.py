"""VLAD whose codewords are learned with the classifier: T2 of Katharopoulos et al. 2017, eq. 9."""

from __future__ import annotations

from sklinvariant._parameters import Count, CountOrZero, FiniteArray, NonNegative, Positive, ShareOfAll, Verbose, RandomState, declared
from dataclasses import KW_ONLY
from typing import Any, Annotated, Literal
from collections.abc import Callable
from sklearn.utils._param_validation import HasMethods

from sklearn.utils._param_validation import StrOptions

from sklinvariant.aggregation._learned_bag_of_words import LearnedBoW
from sklinvariant.networks import SoftVLAD


@declared
class LearnedVLAD(LearnedBoW):
    """VLAD learned with a classifier: codewords, their covariances and the sharpness of the assignment.

    ``R_k = (1/m) Σ_n D_k(f_n) / Σ_j D_j(f_n) (f_n - C_k)`` (eq. 9 of [1]_), with the D of `LearnedBoW`, flattened
    and normalised as in `VLAD`. ``transform`` gives R, in the place of `VLAD`.

    Parameters
    ----------
    n_codewords : int
        Size of the codebook; the representation has ``n_codewords * d`` features.
    init, covariance, gamma, learn_gamma
        As in `LearnedBoW`.
    normalization : {"l2", "power", "intra"} or None
        As in `VLAD`; None is the paper's eq. 9.
    feature_map : callable or None
        Map between the representation and the linear model.
    loss, alpha, max_epochs, batch_size, learning_rate, learning_rate_decay, optimizer, descriptors_per_sample
        The cost and its descent, as in `LearnedAggregation`.
    tol, n_iter_no_change, fine_tune, class_weight, callbacks, warm_start, verbose
        How training ends, weighs, reports and goes on, as in `LearnedAggregation`.
    subsample, descriptor_dim, chunk_size, device, random_state
        Data and device, as in `LearnedAggregation`.

    Attributes
    ----------
    codebook_, covariances_, gamma_
        As in `LearnedBoW`.
    classes_, coef_, intercept_, history_, n_iter_
        As in `LearnedAggregation`.

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

    n_codewords: Count = 64
    _: KW_ONLY
    init: Literal["gmm", "kmeans", "random"] | FiniteArray | Annotated[Any, HasMethods(["fit"])] = "kmeans"
    covariance: Literal["diag", "identity"] = "diag"
    gamma: Literal["scale"] | Positive = "scale"
    learn_gamma: bool = True
    normalization: Literal["l2", "power", "intra"] | None = "power"
    feature_map: Callable | None = None
    loss: Literal["hinge", "log_loss", "squared_error", "squared_hinge"] | Callable = "log_loss"
    alpha: NonNegative = 1e-4
    max_epochs: CountOrZero = 30
    batch_size: Count = 64
    learning_rate: Positive = 0.05
    learning_rate_decay: Literal["cosine"] | None = "cosine"
    optimizer: Literal["adam", "sgd"] | Callable = "adam"
    descriptors_per_sample: Count | ShareOfAll | None = 0.3
    tol: NonNegative | None = None
    n_iter_no_change: Count = 5
    fine_tune: bool = True
    class_weight: dict | Literal["balanced"] | None = None
    callbacks: list | tuple | None = None
    warm_start: bool = False
    verbose: Verbose = 0
    subsample: Count | None = 200_000
    descriptor_dim: Count | None = None
    chunk_size: Count | None = None
    random_state: RandomState = None


    def _module(self, codebook, covariances, gamma, units, dtype):
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
