"""Pooling learned from video: features that follow each other in time are pooled together.

Sukhbaatar, Makino, Aihara (2013), Auto-pooling: Learning to Improve Invariance of Image Features from Image Sequences.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import KW_ONLY, replace
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._distributed import current_processes
from sklinvariant._warnings import warn
from sklinvariant.accumulate import Blocks
from sklinvariant.base import (
    Affine,
    Array,
    Count,
    FittedState,
    FrameReader,
    Maybe,
    NonNegative,
    OnDevice,
    OutputReader,
    Positive,
    RowFeaturesOutMixin,
    RowReader,
    ShardRows,
    ShareBelowOne,
    TorchEstimator,
    Whole,
    as_tensor,
    declared,
    is_stream,
    resolve_device,
)
from sklinvariant.ops import concatenated
from sklinvariant.pooling._auto_pooling._by_batches import PoolingByBatches
from sklinvariant.pooling._auto_pooling._by_moments import PoolingByMoments
from sklinvariant.pooling._auto_pooling._start import NO_UNITS
from sklinvariant.pooling._clip_frames import GROUPS_DOC, answer_frames, check_some_pairs, clip_frames
from sklinvariant.pooling._held_moments import moments_of_models

_CHUNK_ROWS = 4096  # frames multiplied at a time
_POOLED = OutputReader("pooled features", pairs=True)
_MOMENT_BYTES = 4 << 30  # memory that the moments may need with solver="auto"
_MOMENT_MATRICES = {False: 6, True: 8}  # (d, d) float64 matrices in memory at the same time, by ``standardize``


@declared
class AutoPooling(OnDevice, PoolingByMoments, PoolingByBatches, RowFeaturesOutMixin, TransformerMixin, TorchEstimator):
    r"""Pooling of features that follow each other in video, a soft clustering of the features.

    The pooled representation of non-negative features y is :math:`z = P y`. The non-negative matrix P minimises
    :math:`J = \lambda J_1 + J_2` over pairs of consecutive frames y and y':

    .. math:: J_1 = \frac{1}{2} E \lVert z - z' \rVert^2, \qquad
        J_2 = \frac{1}{2} E \left(\lVert y - P^T z \rVert^2 + \lVert y' - P^T z' \rVert^2\right)

    The first term makes z equal for both frames, and the second preserves the information in y. By default y is
    standardised in J.

    Use `SpatialPooling`, which needs no fit, for feature maps of known layout if what moves is mostly shifted: grids of
    equal size are about as accurate. If the layout is unknown, compare with PCA, which was about as accurate in a
    fraction of the time. Use `AutoPooling` for non-negative features, for clusters that can be displayed, or if the
    motion is not a translation.

    Parameters
    ----------
    n_components : int
        Number of clusters, which may be larger than the number of features.
    invariance : float
        λ, the weight of the first term. Higher values give more invariant features, which contain less information.
        With 2, keeping a direction whose values in consecutive frames are uncorrelated does not reduce J (see Notes).
        With 0 only the reconstruction counts. With large values components become 0.
    standardize : bool
        Whether J is that of the standardised features, ``(y - mean_) / scale_``. Then all features count equally,
        whatever their energy, and no cluster is spent on their mean. The pooled features are those of ``y / scale_``,
        which are not negative. False is the method of the paper, in which features with more energy attract more
        clusters.
    solver : {"auto", "moment", "sgd"}
        "moment" sums products of the frames, and then descends with exact gradients, for which the frames are no
        longer needed. "sgd" descends by batches of pairs, if there are too many features for matrices (n_features,
        n_features). "auto" selects "moment" if its matrices need at most 4 GiB, which is up to 8,192 features, or 9,459
        with ``standardize=False``. ``precision`` has an effect on "sgd" only.
    cross_reconstruction : bool
        Whether y' is reconstructed from z instead of z', a common variant.
    max_iter : int
        Maximum number of iterations of "moment".
    tol : float
        "moment" stops when the norm of the projected gradient is at most ``tol`` times that at a random start. For
        "sgd" see ``n_iter_no_change``.
    n_iter_no_change : int or None
        "sgd" stops when the loss, divided by the mean squared norm of a pair, has not decreased by more than ``tol``
        for this number of epochs. None disables this criterion.
    learning_rate : float
        Initial step size of "sgd", in units of 1 / (estimated largest curvature of J), with ``standardize=True`` half
        of these.
    momentum : float
        Momentum of "sgd".
    batch_size : int
        Number of pairs in a training step of "sgd".
    max_epochs : int
        Maximum number of passes of "sgd" over the pairs.
    chunk_size : int or None
        Number of frames processed at a time, which bounds the memory but does not change the result. None chooses it
        automatically.
    warm_start : bool
        Whether `fit` starts from the components of the previous fit.
    checkpoint : str, path or None
        A file that `fit` writes after each epoch of "sgd". If the fit is interrupted, the same call resumes from this
        file and gives the same model. The file is removed when the fit is finished. If the file cannot be written, for
        example because the disk is full, or if another fit writes it too, the fit continues with a warning. "moment"
        writes no file, and warns if ``checkpoint`` is set.
    callbacks : list of skorch callbacks or None
        Callbacks of the epochs of "sgd", which can monitor ``train_loss``. Unsupported callbacks raise an error. To set
        callbacks of scikit-learn, which "moment" supports as well, use ``set_callbacks``.
    random_state : int, RandomState or None
        Seed of the initial components and of the order of pairs.
    verbose : int
        1 shows a progress bar of iterations or epochs.

    Attributes
    ----------
    components_ : array of shape (n_components, n_features)
        The matrix P: the non-negative weight of each feature, after division by `scale_`, in each cluster.
    mean_ : array of shape (n_features,)
        Mean of the features in the training pairs, or None with ``standardize=False``.
    scale_ : array of shape (n_features,)
        Their standard deviation, and 1 for constant features, whose weights are 0; None with ``standardize=False``.
        With "sgd", `partial_fit` and ``warm_start`` keep those of the first fit, and features that were constant in it
        stay without weight.
    objective_ : float
        J of the training pairs, a mean over pairs in squared units of the features (of the standardised ones with
        ``standardize=True``), as are `reconstruction_error_` and `invariance_error_`. After `partial_fit` it is the
        mean over all pairs so far, or with "sgd" over the pairs of the last call.
    reconstruction_error_ : float
        The reconstruction error :math:`J_2`.
    invariance_error_ : float
        The invariance error :math:`J_1`, without λ.
    history_ : list of dict
        Number, loss and seconds of each epoch. With "sgd" the loss is the mean of J over the batches. With "moment" an
        epoch is an iteration of the last call of `fit` or `partial_fit`, the loss is J, and epoch 0 is the initial
        value. The keys ``iteration`` and ``objective`` contain the same numbers.
    n_iter_ : int
        Number of epochs, or of iterations of the last call.

    See Also
    --------
    SpatialPooling : Pools over the regions of grids.
    SlowFeatures : The slowest combinations of features, with weights of both signs.
    NestedInvariancePooler : Pools over known transformations.

    Notes
    -----
    There is no ``optimizer``, because "sgd" takes projected steps, which keep the components non-negative.

    J depends on the data only through two matrices,

    .. math:: S = E[y y^T + y' y'^T], \qquad S_\Delta = E[(y - y')(y - y')^T]

    With :math:`L = 2 S - \lambda S_\Delta`,

    .. math:: J = \frac{1}{2} \left(\mathrm{tr}(S) - \mathrm{tr}(P L P^T) + \mathrm{tr}(P S P^T P P^T)\right)

    The matrices are sums over pairs, and so are those of y and y', from which the moments of the standardised features
    follow. Therefore `partial_fit` and `fit_moments` are exact. With the default λ = 2,
    :math:`L = 2 E[y y'^T + y' y^T]`: the gain of keeping a direction is its correlation between consecutive frames, and
    noise that is independent in each frame gains nothing.

    "moment" descends by accelerated projected gradients with restarts and backtracking. On features of natural video
    (100 and 400 k-means features of patches, 16 to 64 components) it was at least as fast as a projected quasi-Newton
    method with exact line searches, and several times as fast as spectral projected gradients, multiplicative updates
    and L-BFGS-B, because one direction of S, the mean, has up to 95 % of the energy. Moments and descent are computed
    in float64, on the CPU if the device is MPS.

    A model fitted with "moment" contains the moments, two or three float64 matrices with a row for each feature, and
    with ``standardize`` one more for the sums.

    References
    ----------
    Sukhbaatar, Makino, Aihara (2013). Auto-pooling: Learning to Improve Invariance of Image Features from Image
    Sequences. Section 2.

    Examples
    --------
    A spot moves around a circle of 12 features, and neighbours on the circle are pooled:

    >>> import numpy as np
    >>> from sklinvariant import AutoPooling
    >>> place = np.arange(240)[:, None] / 4
    >>> X = np.exp(3 * np.cos((place - np.arange(12)) * 2 * np.pi / 12))
    >>> pooling = AutoPooling(4, random_state=0).fit(X)
    >>> pooling.transform(X).shape
    (240, 4)
    >>> bool((pooling.components_ >= 0).all())
    True
    """

    _fits_in_parts = True
    _fits_streams = True
    _layout = {
        "components": Array("k", "n_features_in_"),
        "mean": Maybe(Array("n_features_in_")),
        "scale": Maybe(Array("n_features_in_")),
        "varies": Maybe(Array("n_features_in_", kinds="b")),  # False for constant features
        "n_pairs": Maybe(Whole()),
        "total": Maybe(Array("n_moments", "n_moments")),  # one more than features with ``standardize``
        "change": Maybe(Array("n_moments", "n_moments")),
        "first": Maybe(Array("n_moments", "n_moments")),
        "shift": Maybe(Array("n_features_in_")),
        "last_frame": Maybe(Array(None, "n_features_in_")),
    }
    n_components: Count = 64
    _: KW_ONLY
    invariance: NonNegative = 2.0
    standardize: bool = True
    solver: Literal["auto", "moment", "sgd"] = "auto"
    cross_reconstruction: bool = False
    max_iter: Count = 2000
    tol: NonNegative = 1e-4
    n_iter_no_change: Count | None = None  # type: ignore[assignment]  # None: "sgd" does not stop early
    learning_rate: Positive = 1.0
    momentum: ShareBelowOne = 0.97
    batch_size: Count = 128
    max_epochs: Count = 20
    chunk_size: Count | None = None

    _reader = FrameReader(RowReader(wide=True))
    _shared_docs = GROUPS_DOC
    components_ = FittedState("The non-negative matrix P, (n_components, n_features).")
    mean_ = FittedState("Mean of the features, (n_features,), or None.")
    scale_ = FittedState("Standard deviation of the features, (n_features,), or None.")

    def _check_layout(self):
        state = self._state
        if "total" in state and len(state["total"]) != self.n_features_in_ + (state.get("shift") is not None):
            raise ValueError(
                f"total has {len(state['total'])} rows, which do not match {self.n_features_in_} features. Fit again."
            )
        scale, others = state.get("scale"), [state.get("mean"), state.get("varies")]
        if scale is not None and not ((scale > 0).all() and all(other is not None for other in others)):
            raise ValueError("scale must be positive, and mean and varies must be given. Fit again.")

    def _adapt_earlier(self):
        if "scale" not in getattr(self, "_state", NO_UNITS):  # fitted before there was ``standardize``
            self.standardize = False
            self._state = {**self._state, **NO_UNITS}

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Learn the pooling.

        Parameters
        ----------
        X : array of shape (n, n_features) or (n_pairs, 2, n_features), or iterable of such arrays
            Non-negative features of frames in temporal order, or of pairs of consecutive frames. "moment" also accepts
            an iterable, such as a generator, which is read once, one array at a time. Its rows are those of one clip.

        Raises
        ------
        ValueError
            If X contains NaN, infinite or negative values, if the rows of a clip are not consecutive (the message names
            the row), if there is no pair, if ``warm_start=True`` but the previous components have another shape, if J
            is not finite because features or ``invariance`` are too large, or if ``groups`` are given for an iterable.
        """
        if is_stream(X):
            return self._learn_from_stream(X, groups)
        return self._learn(X, groups, partial=False)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Learn from more frames, starting from the current components.

        With "moment" the result is that of a fit to all frames so far, because their moments are added. With "sgd" it
        is one pass over the new pairs. The momentum starts at 0 in each call, so pass many batches per call. If the
        first row has the same clip as the last row of the previous call, the two rows are a pair. Without ``groups``,
        each call is a separate clip.
        """
        return self._learn(X, groups, partial=True)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=True)
    def fit_moments(self, models: list[AutoPooling]) -> Self:
        """Learn from the moments of fitted models, with the same result as from all their frames.

        Several machines can each fit a part of the clips (``max_iter=1`` is sufficient) and save their models, which
        this method combines. From a single model, it learns models with another ``invariance`` or ``n_components``
        without another pass over the frames.

        Parameters
        ----------
        models : list of AutoPooling
            Models fitted with "moment" to the same features. Their other parameters may differ, but
            ``cross_reconstruction=True`` and ``standardize=True`` require models that were fitted with True.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a model is not fitted, has no moments or has other features (the message names the model), and as in
            `fit`.
        """
        device = resolve_device(self.device)
        moments = moments_of_models(models, AutoPooling, self.cross_reconstruction, self.standardize, device)
        names = {tuple(getattr(model, "feature_names_in_", ())) for model in models}
        self.n_features_in_: int = models[0].n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if len(names) == 1 and names != {()}:
            self.feature_names_in_: np.ndarray = models[0].feature_names_in_
        start = self._earlier_components(self.n_features_in_, self.warm_start)
        largest = math.sqrt(float(moments.total.diagonal()[: self.n_features_in_].max()))
        kept = {"last_frame": None, "last_clip": None, "namespace": models[0]._state["namespace"]}
        dtype = as_tensor(models[0].components_).dtype
        self._descend(None, moments, start, largest, dtype, kept, whole=True)
        return self._warn("invariance")

    def transform(self, X: Any) -> Any:
        """Pool features: multiply them by the matrix P, after division by `scale_` with ``standardize=True``.

        Parameters
        ----------
        X : array of shape (n, n_features) or (n_pairs, 2, n_features)
            Non-negative features.

        Returns
        -------
        array of shape (n, n_components) or (n_pairs, 2, n_components)
        """
        given = self._read(X)
        self._refuse_negative(given)
        return answer_frames(self, given, self._multiply(given.data, self._weights().T, given))

    def inverse_transform(self, X: Any) -> Any:
        """Reconstruct features from pooled features z: :math:`P^T z`, with ``standardize=True`` around their mean.

        Parameters
        ----------
        X : array of shape (n, n_components) or (n_pairs, 2, n_components)
            Pooled features.

        Returns
        -------
        array of shape (n, n_features) or (n_pairs, 2, n_features)
        """
        given = _POOLED.read(self, X)
        if self._state.get("scale") is None:
            rebuilt = self._multiply(given.data, self.components_, given)
        else:
            mean, pooled_mean = (as_tensor(x).to(given.data) for x in (self.mean_, self._weights() @ self.mean_))
            rebuilt = mean + self._multiply(given.data - pooled_mean, self.components_ * self.scale_, given)
        return given.answer(rebuilt.unflatten(0, (-1, 2)) if given.in_pairs else rebuilt)

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: Affine(self._weights())}

    def _weights(self):
        """The weight of each feature, in its own units, in each cluster: (n_components, n_features)."""
        scale = self._state.get("scale")
        return self.components_ if scale is None else self.components_ / scale

    def _multiply(self, rows, matrix, given):
        """Multiply rows by a matrix on the device, in chunks. The result is on the device of the rows."""
        blocks = Blocks(rows, device=given.device, dtype=given.dtype, size=self.chunk_size or _CHUNK_ROWS)
        matrix = as_tensor(np.ascontiguousarray(matrix)).to(given.device, given.dtype)
        return concatenated(((block @ matrix).to(rows.device) for block in blocks), len(rows))

    def _refuse_negative(self, given):
        rows = given.data
        if isinstance(rows, ShardRows):
            with rows.processes.failing_together():
                self._refuse_negative(replace(given, data=rows.own))
        elif rows.min() < 0:
            row = int((rows.amin(1) < 0).nonzero()[0])
            where = f"pair {row // 2}" if given.in_pairs else f"row {row}"
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__}: {where} has {float(rows[row].min()):g}, but "
                "features to pool must be non-negative"
            )

    def _learn(self, X, groups, *, partial):
        continues = partial and hasattr(self, "_state")
        with self._failing_together():
            given = self._read(X, reset=not continues)
            self._refuse_negative(given)
            frames = clip_frames(given, groups, self._state if continues else None, type(self).__name__)
        if not frames.follows.any():
            check_some_pairs(continues, len(frames.rows))
            self._state: dict[str, Any] = {**self._state, **frames.kept}
            return self
        n_features = frames.rows.shape[1]
        start = self._earlier_components(n_features, continues or self.warm_start)
        by_moments = self._solver(n_features) == "moment"
        if by_moments:
            self._learn_by_moments(X, given, frames, start, continues, whole=not partial)
        elif isinstance(frames.rows, ShardRows):
            raise ValueError(
                f"{type(self).__name__} does not support distributed(shards=True) with solver={self.solver!r} and "
                f'{n_features} features. Set solver="moment", or pass the same data to all processes'
            )
        else:
            self._train(X, partial=partial, given=given, frames=frames, start=start)
        return self._warn("invariance" if by_moments else "learning_rate or invariance")

    @contextlib.contextmanager
    def _failing_together(self):
        """If reading X fails in one of the processes that train together, it fails in all of them."""
        failure = None
        try:
            yield
        except Exception as error:
            failure = error
        processes = current_processes()
        # with "moment", each process computes alone
        if processes is not None and self._solver(getattr(self, "n_features_in_", 0)) == "sgd":
            with processes.failing_together():
                if failure is not None:
                    raise failure
        if failure is not None:
            raise failure

    def _earlier_components(self, n_features, continues):
        if not (continues and hasattr(self, "_state")):
            return None
        components = self._state["components"]
        if components.shape != (self.n_components, n_features):
            raise ValueError(
                f"n_components={self.n_components} of {n_features} features do not match the components of shape "
                f"{components.shape} from the previous fit. Set warm_start=False, or fit a clone"
            )
        return components

    def _warn(self, cause):
        if np.square(self.components_).sum() < 1e-4:  # tr PᵀP, about the number of directions that P keeps
            constant = self.standardize and self.objective_ == 0
            problem = "all features are constant" if constant else f"all components are almost 0. Lower {cause}"
            warn(f"{type(self).__name__}: {problem}", ConvergenceWarning)
        return self

    def _solver(self, n_features):
        if self.solver != "auto":
            return self.solver
        return "moment" if 8 * _MOMENT_MATRICES[self.standardize] * n_features**2 <= _MOMENT_BYTES else "sgd"

    def _errors(self, errors):
        invariance_error, reconstruction_error = map(float, errors)
        return {
            "invariance_error_": invariance_error,
            "reconstruction_error_": reconstruction_error,
            "objective_": self.invariance * invariance_error + reconstruction_error,
        }

    @property
    def _n_features_out(self):
        return len(self.components_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags
