"""Fisher vectors: how a bag would move the means and deviations of a Gaussian mixture (Perronnin et al. 2010)."""

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods

from sklinvariant._base import FittedState, keeps_state_on_failure, torch_generator
from sklinvariant._compat import reports_fit
from sklinvariant._constraints import COUNT, NON_NEGATIVE
from sklinvariant._layout import Array
from sklinvariant.aggregation._aggregator import Aggregator
from sklinvariant.aggregation._codebook import draw_sample, learn_mixture
from sklinvariant.kernels import Mixture
from sklinvariant.networks import SoftFisherVector


class FisherVector(Aggregator):
    """Fisher vector: the mean gradient of a diagonal Gaussian mixture's log-likelihood at a bag's descriptors.

    With posteriors q and z = (f - μ_k) / σ_k, for each component
    ``u_k = 1 / (m √w_k) Σ q_nk z_nk`` and ``v_k = 1 / (m √(2 w_k)) Σ q_nk (z_nk² - 1)``, all u before all v, the
    convention of VLFeat. `skimage.feature.fisher_vector` puts the mixing weights first (``weight_terms=True`` here)
    and gives v with the opposite sign.

    Parameters
    ----------
    n_components : int, default=64
        Gaussians of the mixture; the representation has ``2 * n_components * d`` features.
    improved : bool, default=True
        Signed square root, then L2 normalisation: the "improved" Fisher vector.
    weight_terms : bool, default=False
        Put the ``n_components`` derivatives to the mixing weights before the others.
    mixture : mixture estimator or None, default=None
        A diagonal mixture to use, fitted or to be fitted, such as ``GaussianMixture(covariance_type="diag")``.
        None runs expectation-maximisation from k-means.
    max_iter : int, default=100
        Most iterations of expectation-maximisation.
    tol : float, default=1e-3
        It stops when the mean log-likelihood of a descriptor rises by less.
    subsample : int or None, default=200_000
        Most descriptors that the mixture is learned from; None takes all.
    descriptor_dim : int or None, default=None
        Cuts flat rows ``(n, m * d)`` into m descriptors of this many features; None takes a row for one descriptor.
    chunk_size : int or None, default=None
        Descriptors at a time; None fits the chunk to the cache. Bounds the memory, does not change the result.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.
    random_state : int, RandomState or None, default=None
        Seeds the start of the mixture.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Mixing weights.
    means_ : ndarray of shape (n_components, d)
        Means of the Gaussians.
    covariances_ : ndarray of shape (n_components, d)
        Their diagonal covariances.
    n_iter_ : int
        Iterations of expectation-maximisation.

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

    _layout = {
        "weights": Array("k"),
        "means": Array("k", "n_descriptor_features"),
        "covariances": Array("k", "n_descriptor_features"),
    }
    _parameter_constraints = {
        **Aggregator._parameter_constraints,
        "n_components": [COUNT],
        "improved": ["boolean"],
        "weight_terms": ["boolean"],
        "mixture": [HasMethods("fit"), None],
        "max_iter": [COUNT],
        "tol": [NON_NEGATIVE],
        "subsample": [COUNT, None],
    }

    weights_ = FittedState("Mixing weights, (n_components,).")
    means_ = FittedState("Means, (n_components, d).")
    covariances_ = FittedState("Diagonal covariances, (n_components, d).")

    def __init__(
        self,
        n_components=64,
        *,
        improved=True,
        weight_terms=False,
        mixture=None,
        max_iter=100,
        tol=1e-3,
        subsample=200_000,
        descriptor_dim=None,
        chunk_size=None,
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.improved = improved
        self.weight_terms = weight_terms
        self.mixture = mixture
        self.max_iter = max_iter
        self.tol = tol
        self.subsample = subsample
        self.descriptor_dim = descriptor_dim
        self.chunk_size = chunk_size
        self.device = device
        self.random_state = random_state

    @keeps_state_on_failure
    @_fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X, y=None):
        """Learn the mixture from the descriptors of all bags.

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
            Bags of local descriptors.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where a bag is not of numbers, holds NaN or infinity (the bag is named), where all are empty, or where
            there are fewer descriptors than components.
        """
        bags, container = self._check_bags(X, reset=True)
        generator = torch_generator(self.random_state)
        sample = draw_sample(bags, self.subsample, generator, self.device)
        mixture, n_iter = learn_mixture(
            sample,
            self.mixture,
            self.n_components,
            max_iter=self.max_iter,
            tol=self.tol,
            generator=generator,
            n_samples=len(bags),
        )
        self._keep(sample, container, weights=mixture.weights, means=mixture.means, covariances=mixture.variances)
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
