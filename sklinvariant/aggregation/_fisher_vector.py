"""Fisher vectors: the gradient of a Gaussian mixture's log-likelihood for a bag (Perronnin et al. 2010)."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any

from sklinvariant._compat import HasMethods
from sklinvariant.accumulate import step_mixture
from sklinvariant.aggregation._bag_module import BagModule
from sklinvariant.aggregation._codebook import learn_mixture, mixture_inward, mixture_outward
from sklinvariant.aggregation._vocabulary import VocabularyAggregator
from sklinvariant.base import Array, Count, FittedState, NonNegative, declared
from sklinvariant.networks import SoftFisherVector
from sklinvariant.ops import Mixture


@declared
class FisherVector(VocabularyAggregator):
    r"""Fisher vector: the mean gradient of a diagonal Gaussian mixture's log-likelihood at a bag's descriptors.

    For component k with weight w, posteriors q and standardised descriptors :math:`z_{nk} = (f_n - \mu_k) / \sigma_k`,

    .. math:: u_k = \frac{1}{m \sqrt{w_k}} \sum_n q_{nk} z_{nk}, \qquad
        v_k = \frac{1}{m \sqrt{2 w_k}} \sum_n q_{nk} (z_{nk}^2 - 1)

    All u come before all v, as in VLFeat. `skimage.feature.fisher_vector` puts the mixing weights first
    (``weight_terms=True`` here) and returns v with the opposite sign.

    Parameters
    ----------
    n_components : int
        Number of Gaussians; the representation has ``2 * n_components * d`` features.
    improved : bool
        Apply signed square roots and L2 normalisation (the "improved" Fisher vector).
    weight_terms : bool
        Prepend the ``n_components`` derivatives with respect to the mixing weights.
    mixture : mixture estimator or None
        A diagonal mixture to use, which is fitted unless it already is, such as
        ``GaussianMixture(covariance_type="diag")``. None runs expectation-maximisation, initialised with k-means.
    max_iter : int
        Maximum number of iterations of expectation-maximisation.
    tol : float
        Expectation-maximisation stops when the mean log-likelihood of a descriptor improves by less than this value.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Mixing weights.
    means_ : ndarray of shape (n_components, d)
        Means of the Gaussians.
    covariances_ : ndarray of shape (n_components, d)
        Their diagonal covariances.
    n_iter_ : int
        Number of iterations of expectation-maximisation.

    See Also
    --------
    LearnedFisherVector : Learns the mixture with the classifier.

    References
    ----------
    .. [1] Perronnin, Sánchez, Mensink, "Improving the Fisher kernel for large-scale image classification", 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.aggregation import FisherVector
    >>> bags = np.random.default_rng(0).normal(size=(10, 20, 3))
    >>> FisherVector(4, random_state=0).fit_transform(bags).shape
    (10, 24)
    """

    _fits_in_parts = True
    _layout = {
        "weights": Array("k"),
        "means": Array("k", "n_descriptor_features"),
        "covariances": Array("k", "n_descriptor_features"),
    }
    n_components: Count = 64
    _: KW_ONLY
    improved: bool = True
    weight_terms: bool = False
    mixture: Annotated[Any, HasMethods(["fit"])] | None = None
    max_iter: Count = 100
    tol: NonNegative = 1e-3

    weights_ = FittedState("Mixing weights, (n_components,).")
    means_ = FittedState("Means, (n_components, d).")
    covariances_ = FittedState("Diagonal covariances, (n_components, d).")

    def _learn(self, sample, generator, n_samples):
        mixture, n_iter = learn_mixture(
            sample,
            self.mixture,
            self.n_components,
            max_iter=self.max_iter,
            tol=self.tol,
            generator=generator,
            n_samples=n_samples,
        )
        return _state_of(mixture), n_iter

    def _step(self, sample, step):
        mixture = Mixture(*(self._state[name] for name in ("weights", "means", "covariances")))
        if self.mixture is not None:
            return _state_of(mixture)
        self._check_unchanged("n_components", len(mixture.weights))
        return _state_of(mixture_outward(step_mixture(sample.blocks, mixture_inward(mixture, sample), step), sample))

    def _encode(self, bags, dtype, device):
        return self._encoder(dtype).to(device)(bags)

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: BagModule(self._encoder(dtype))}

    def _encoder(self, dtype):
        return SoftFisherVector(
            Mixture(self.weights_, self.means_, self.covariances_),
            self._units,
            dtype=dtype,
            improved=self.improved,
            weight_terms=self.weight_terms,
            chunk_size=self.chunk_size,
        )

    @property
    def _n_features_out(self):
        k, d = self.means_.shape
        return 2 * k * d + (k if self.weight_terms else 0)


def _state_of(mixture):
    return {"weights": mixture.weights, "means": mixture.means, "covariances": mixture.variances}
