"""VLAD whose codewords are learned with the classifier: T2 of Katharopoulos et al. 2017, eq. 9."""

from sklearn.utils._param_validation import StrOptions

from sklinvariant.aggregation._learned_bag_of_words import LearnedBoW
from sklinvariant.networks import SoftVLAD


class LearnedVLAD(LearnedBoW):
    """VLAD learned with a classifier: codewords, their covariances and the sharpness of the assignment.

    ``R_k = (1/m) Σ_n D_k(f_n) / Σ_j D_j(f_n) (f_n - C_k)`` (eq. 9 of [1]_), with the D of `LearnedBoW`, flattened
    and normalised as in `VLAD`. ``transform`` gives R, in the place of `VLAD`.

    Parameters
    ----------
    n_codewords : int, default=64
        Size of the codebook; the representation has ``n_codewords * d`` features.
    init, covariance, gamma, learn_gamma
        As in `LearnedBoW`.
    normalization : {"l2", "power", "intra"} or None, default="power"
        As in `VLAD`; None is the paper's eq. 9.
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

    _parameter_constraints = {
        **LearnedBoW._parameter_constraints,
        "normalization": [StrOptions({"l2", "power", "intra"}), None],
        "feature_map": [callable, None],
    }

    def __init__(
        self,
        n_codewords=64,
        *,
        init="kmeans",
        covariance="diag",
        gamma="scale",
        learn_gamma=True,
        normalization="power",
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
        self.n_codewords = n_codewords
        self.init = init
        self.covariance = covariance
        self.gamma = gamma
        self.learn_gamma = learn_gamma
        self.normalization = normalization
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
