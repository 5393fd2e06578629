"""Fisher vectors whose mixture is learned with the classifier, which Katharopoulos et al. 2017 announce."""

from sklearn.base import is_clusterer
from sklearn.utils._param_validation import HasMethods, StrOptions

from sklinvariant._base import FittedState
from sklinvariant._constraints import COUNT, FINITE_ARRAY
from sklinvariant._layout import Array
from sklinvariant.aggregation._codebook import learn_codebook, learn_mixture, mixture_around
from sklinvariant.aggregation._learned_aggregation import LearnedAggregation
from sklinvariant.kernels import Mixture
from sklinvariant.networks import SoftFisherVector


class LearnedFisherVector(LearnedAggregation):
    """Fisher vectors learned with a classifier: weights, means and variances of the mixture follow the task.

    The representation is that of `FisherVector`; its mixture starts from expectation-maximisation and goes on by
    the gradient of the classifier's cost (eq. 4 of [1]_, whose section III-B proposes it).

    Parameters
    ----------
    n_components : int, default=64
        Gaussians of the mixture; the representation has ``2 * n_components * d`` features.
    init : {"gmm", "kmeans", "random"}, array (k, d), mixture or clusterer, default="gmm"
        Where the mixture starts: expectation-maximisation; a diagonal mixture, fitted (a `FisherVector`, too) or to be
        fitted; or a codebook, as in `LearnedBoW`, with the weights and variances of the descriptors nearest to each of
        its words. An array or a fitted estimator decides the number of Gaussians.
    improved : bool, default=True
        Signed square root, then L2 normalisation.
    feature_map : callable or None, default=None
        Map between the representation and the linear model.
    loss, alpha, max_epochs, batch_size, learning_rate, learning_rate_decay, optimizer, descriptors_per_sample
        The cost and its descent, as in `LearnedAggregation`.
    tol, n_iter_no_change, fine_tune, class_weight, callbacks, warm_start, verbose
        How training ends, weighs, reports and goes on, as in `LearnedAggregation`.
    subsample, descriptor_dim, chunk_size, device, random_state
        Data and device, as in `LearnedAggregation`.

    Attributes
    ----------
    weights_, means_, covariances_
        The learned mixture, as in `FisherVector`.
    classes_, coef_, intercept_, history_, n_iter_
        As in `LearnedAggregation`.

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
    _parameter_constraints = {
        **LearnedAggregation._parameter_constraints,
        "n_components": [COUNT],
        "init": [StrOptions({"gmm", "kmeans", "random"}), FINITE_ARRAY, HasMethods("fit")],
        "improved": ["boolean"],
        "feature_map": [callable, None],
    }
    _parameter_constraints.pop("encoder")

    weights_ = FittedState("Learned mixing weights, (n_components,).")
    means_ = FittedState("Learned means, (n_components, d).")
    covariances_ = FittedState("Learned diagonal covariances, (n_components, d).")

    def __init__(
        self,
        n_components=64,
        *,
        init="gmm",
        improved=True,
        feature_map=None,
        loss="log_loss",
        alpha=1e-4,
        max_epochs=30,
        batch_size=64,
        learning_rate=0.05,
        learning_rate_decay="cosine",
        optimizer="adam",
        descriptors_per_sample=0.3,
        tol=None,
        n_iter_no_change=5,
        fine_tune=True,
        class_weight=None,
        callbacks=None,
        warm_start=False,
        verbose=0,
        subsample=200_000,
        descriptor_dim=None,
        chunk_size=None,
        device="auto",
        random_state=None,
    ):
        self.n_components = n_components
        self.init = init
        self.improved = improved
        self.feature_map = feature_map
        self.loss = loss
        self.alpha = alpha
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.optimizer = optimizer
        self.descriptors_per_sample = descriptors_per_sample
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.fine_tune = fine_tune
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.verbose = verbose
        self.subsample = subsample
        self.descriptor_dim = descriptor_dim
        self.chunk_size = chunk_size
        self.device = device
        self.random_state = random_state

    def _start_encoder(self, sample, dtype, generator, n_samples):
        how = {"max_iter": 100, "tol": 1e-3, "generator": generator, "n_samples": n_samples}
        if _is_codebook(self.init):
            codebook, _ = learn_codebook(sample, self.init, self.n_components, **how)
            mixture = mixture_around(sample, codebook)
        else:
            mixture, _ = learn_mixture(
                sample, None if isinstance(self.init, str) else self.init, self.n_components, **how
            )
        return self._module(mixture, sample.units, dtype)

    def _export_encoder(self, encoder):
        return encoder.export()

    def _build_encoder(self, state, units, dtype):
        return self._module(Mixture(state["weights"], state["means"], state["covariances"]), units, dtype)

    def _module(self, mixture, units, dtype):
        return SoftFisherVector(mixture, units, dtype=dtype, improved=self.improved, chunk_size=self.chunk_size)

    @property
    def _n_features_out(self):
        return 2 * self.means_.size


def _is_codebook(init):
    """Whether it gives words alone, not a mixture."""
    if isinstance(init, str):
        return init != "gmm"
    return not hasattr(init, "fit") or is_clusterer(init) or hasattr(init, "codebook_")
