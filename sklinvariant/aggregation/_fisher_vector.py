"""Fisher vectors: the gradient of a Gaussian mixture's log-likelihood for a bag (Perronnin et al. 2010)."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import Annotated, Any, Self

from sklinvariant._compat import HasMethods, fit_context, reports_fit
from sklinvariant.aggregation._aggregator import Aggregator
from sklinvariant.aggregation._codebook import draw_sample, learn_mixture
from sklinvariant.base import Array, Count, FittedState, NonNegative, declared, torch_generator
from sklinvariant.networks import SoftFisherVector
from sklinvariant.ops import Mixture


@declared
class FisherVector(Aggregator):
    """Fisher vector: the mean gradient of a diagonal Gaussian mixture's log-likelihood at a bag's descriptors.

    With posteriors q and z = (f - μ_k) / σ_k, for each component
    ``u_k = 1 / (m √w_k) Σ q_nk z_nk`` and ``v_k = 1 / (m √(2 w_k)) Σ q_nk (z_nk² - 1)``; all u come before all v, as in
    VLFeat. `skimage.feature.fisher_vector` puts the mixing weights first (``weight_terms=True`` here) and returns v
    with the opposite sign.

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
    subsample : int or None
        Maximum number of descriptors from which the mixture is learned; None uses all.

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
    subsample: Count | None = 200_000

    weights_ = FittedState("Mixing weights, (n_components,).")
    means_ = FittedState("Means, (n_components, d).")
    covariances_ = FittedState("Diagonal covariances, (n_components, d).")

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the mixture from the descriptors of all bags.

        Raises
        ------
        ValueError
            If a bag is not numeric or contains NaN or infinity (the message names the bag), if all bags are empty, or
            if there are fewer descriptors than components.
        """
        given = self._read(X, reset=True)
        generator = torch_generator(self.random_state)
        sample = draw_sample(given.data, self.subsample, generator, given.device, given.dtype)
        mixture, n_iter = learn_mixture(
            sample,
            self.mixture,
            self.n_components,
            max_iter=self.max_iter,
            tol=self.tol,
            generator=generator,
            n_samples=len(given.data),
        )
        self._keep(sample, given.kind.name, weights=mixture.weights, means=mixture.means, covariances=mixture.variances)
        self.n_iter_ = max(n_iter, 1)
        return self

    def _encode(self, bags, dtype, device):
        encoder = SoftFisherVector(
            Mixture(self.weights_, self.means_, self.covariances_),
            self._units,
            dtype=dtype,
            improved=self.improved,
            weight_terms=self.weight_terms,
            chunk_size=self.chunk_size,
        )
        return encoder.to(device)(bags)

    @property
    def _n_features_out(self):
        k, d = self.means_.shape
        return 2 * k * d + (k if self.weight_terms else 0)
