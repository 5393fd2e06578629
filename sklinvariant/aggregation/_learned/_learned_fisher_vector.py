"""Fisher vectors with a learned mixture, which Katharopoulos et al. 2017 announce as future work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from sklearn.base import is_clusterer

from sklinvariant._compat import HasMethods
from sklinvariant.aggregation._codebook import learn_codebook, learn_mixture, mixture_around
from sklinvariant.aggregation._learned._learned_aggregation import AggregationLearner
from sklinvariant.base import Array, Count, FiniteArray, FittedState, declared
from sklinvariant.networks import SoftFisherVector
from sklinvariant.ops import Mixture


@declared
class LearnedFisherVector(AggregationLearner):
    """Fisher vectors of a mixture that is learned together with a linear model.

    The representation is that of `FisherVector`. The mixture is initialised by expectation-maximisation and then
    trained by the gradient of the loss of the linear model (eq. 4 of [1]_, which proposes this in section III-B).

    On raw patches, compare it with a `FisherVector` that is not learned: it takes less time, and is more accurate on
    some data. For the cells of a pretrained network, use `SecondOrderPooling`, which is more accurate and is not
    trained.

    Parameters
    ----------
    n_components : int
        Number of Gaussians; the representation has ``2 * n_components * d`` features.
    init : {"gmm", "kmeans", "random"}, array (k, d), mixture or clusterer
        Initial mixture. "gmm" runs expectation-maximisation. You can pass a diagonal mixture, fitted or not, or a
        fitted `FisherVector`. From a codebook, the weights and variances are those of the
        descriptors nearest to each codeword. An array or a fitted estimator determines the number of Gaussians.
    improved : bool
        Whether to apply signed square roots and L2 normalisation.
    feature_map : callable or None
        Differentiable map of the Fisher vectors, before the linear model.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        The learned shares of the Gaussians.
    means_ : ndarray of shape (n_components, d)
        The learned means.
    covariances_ : ndarray of shape (n_components, d)
        The learned variances of the features.

    See Also
    --------
    FisherVector : Fits the mixture without labels.

    References
    ----------
    .. [1] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import LearnedFisherVector
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> bags = rng.normal(size=(40, 10, 3)) * (1 + y)[:, None, None]
    >>> LearnedFisherVector(4, max_epochs=5, random_state=0).fit(bags, y).transform(bags).shape
    (40, 24)
    """

    _layout = {
        "weights": Array("k"),
        "means": Array("k", "n_descriptor_features"),
        "covariances": Array("k", "n_descriptor_features"),
    }
    n_components: Count = 64
    _: KW_ONLY
    init: Literal["gmm", "kmeans", "random"] | FiniteArray | Annotated[Any, HasMethods(["fit"])] = "gmm"
    improved: bool = True
    feature_map: Callable | None = None

    weights_ = FittedState("Learned mixing weights, (n_components,).")
    means_ = FittedState("Learned means, (n_components, d).")
    covariances_ = FittedState("Learned diagonal covariances, (n_components, d).")

    def _start_encoder(self, sample, dtype, generator, n_samples):
        how = {"max_iter": 100, "tol": 1e-3, "generator": generator, "n_samples": n_samples}
        if _is_codebook(self.init):
            codebook, _ = learn_codebook(sample, self.init, self.n_components, **how)
            mixture = mixture_around(sample, codebook)
        else:
            mixture, _ = learn_mixture(
                sample, None if isinstance(self.init, str) else self.init, self.n_components, **how
            )
        return self._encoder(mixture, sample.units, dtype)

    def _build_encoder(self, state, units, dtype):
        return self._encoder(Mixture(state["weights"], state["means"], state["covariances"]), units, dtype)

    def _encoder(self, mixture, units, dtype):
        return SoftFisherVector(mixture, units, dtype=dtype, improved=self.improved, chunk_size=self.chunk_size)

    @property
    def _n_features_out(self):
        return 2 * self.means_.size


def _is_codebook(init):
    """Whether the source provides only codewords, not a mixture."""
    if isinstance(init, str):
        return init != "gmm"
    return not hasattr(init, "fit") or is_clusterer(init) or hasattr(init, "codebook_")
