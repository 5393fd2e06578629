"""Aggregation learned with a classifier: encoder and linear model minimise one cost (Katharopoulos et al. 2017).

Algorithm 1: start the encoder from a clustering, fit the classifier W₀, descend in both on random samples of the
descriptors (eq. 4 and 5), then fit the classifier once more on all of them.
"""

import copy
import functools
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils._param_validation import Interval, RealNotInt, StrOptions
from sklearn.utils.metaestimators import available_if
from torch import nn

from sklinvariant._base import (
    FittedState,
    check_fitted,
    keeps_state_on_failure,
    resolve_device,
    to_numpy,
    torch_generator,
)
from sklinvariant._compat import CallbackSupportMixin, FitReport, with_callbacks
from sklinvariant._training import BagBatches, train
from sklinvariant.aggregation._aggregator import COUNT, NON_NEGATIVE, POSITIVE, Aggregator
from sklinvariant.aggregation._codebook import draw_sample
from sklinvariant.aggregation._targets import (
    Task,
    as_target,
    check_classes,
    encode_targets,
    read_targets,
    task_of_classes,
    weigh,
)
from sklinvariant.kernels import compute_dtype
from sklinvariant.networks import Bags, LinearCost, MeanEncoder, Objective, OwnCost, fit_cost, map_features

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": functools.partial(torch.optim.SGD, momentum=0.9)}


def _predicts(*losses):
    def check(self):
        if self.loss not in losses:
            raise AttributeError(f"not available with loss={self.loss!r}")
        return True

    return available_if(check)


class LearnedAggregation(CallbackSupportMixin, Aggregator):
    """Any encoder of local descriptors, learned together with a classifier or a regressor.

    Minimises ``Σ_i J(R(F_i; Θ), y_i; W)`` over Θ and W, where ``R(F; Θ) = (1/m) Σ_n T(f_n; Θ)`` (eq. 1 and 4 of
    [1]_), for a T of your own. `LearnedBoW`, `LearnedVLAD` and `LearnedFisherVector` are ready-made uses of it.

    Parameters
    ----------
    encoder : torch.nn.Module or callable
        The function T: a module that takes ``(rows, d)`` to ``(rows, D)``. It sees descriptors that are centred and
        scaled to a mean square of 1. A module is copied, a callable ``encoder(d)`` makes one.
    feature_map : {"chi2"}, callable or None, default=None
        Differentiable map between the representation and the linear model: "chi2" is that of
        `sklearn.kernel_approximation.AdditiveChi2Sampler`, for non-negative representations.
    loss : {"log_loss", "hinge", "squared_hinge", "squared_error"}, callable or Module, default="log_loss"
        What is minimised. The first three make a classifier, "squared_error" a regressor. A callable
        ``loss(representation, y)`` gives a number or one per sample, and may be a module with parameters of its own
        (W of the paper); there is then no ``predict``.
    alpha : float, default=1e-4
        L2 penalty of the linear model, on representations scaled to a mean norm of 1.
    max_epochs : int, default=30
        Most passes over the bags; 0 leaves the encoder as it starts.
    batch_size : int, default=64
        Bags a step.
    learning_rate : float, default=0.05
        Step size at the start; the encoder's parameters are in units of the data's spread.
    learning_rate_decay : {"cosine"} or None, default="cosine"
        The step falls to 0 along half a cosine over ``max_epochs``, or stays. ``partial_fit`` keeps it.
    optimizer : {"adam", "sgd"} or torch.optim.Optimizer class, default="adam"
        "sgd" has momentum 0.9.
    descriptors_per_sample : int, float or None, default=0.3
        Descriptors drawn from each bag in a step (eq. 5), or their share (a float, rounded up); None takes all. Fewer
        are quicker and keep the codewords from fitting the noise of the training bags; bags of very few
        descriptors may need all.
    tol : float or None, default=None
        Training stops when an epoch's loss has not fallen by this for ``n_iter_no_change`` epochs; None never, so that
        the step comes to its end.
    n_iter_no_change : int, default=5
        Epochs to wait for that.
    fine_tune : bool, default=True
        Fit the linear model once more on all descriptors at the end (algorithm 1).
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.
    callbacks : list of skorch callbacks or None, default=None
        Called during the training; scikit-learn's own are set by ``set_callbacks``.
    warm_start : bool, default=False
        Go on from the previous fit.
    verbose : int, default=0
        1 shows a progress bar of the epochs.
    subsample : int or None, default=200_000
        Most descriptors that the start is made from; None takes all.
    descriptor_dim : int or None, default=None
        Cuts flat rows ``(n, m * d)`` into m descriptors of this many features; None takes a row for one descriptor.
    chunk_size : int or None, default=None
        Descriptors at a time; None fits the chunk to the cache. Bounds the memory, does not change the result.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA or MPS where there is one, else CPU.
    random_state : int, RandomState or None, default=None
        Seeds the start, the order of the batches and the samples of descriptors.

    Attributes
    ----------
    classes_ : ndarray
        Class labels of a classifier.
    coef_ : ndarray of shape (n_outputs, n_features)
        Weights of the linear model, on the mapped representation.
    intercept_ : ndarray of shape (n_outputs,)
        Its offsets.
    history_ : list of dict
        Epoch, mean loss and seconds of each epoch.
    n_iter_ : int
        Epochs run.

    References
    ----------
    .. [1] Katharopoulos et al., "Learning Local Feature Aggregation Functions with Backpropagation", 2017.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant.aggregation import LearnedAggregation
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> bags = rng.normal(size=(40, 10, 3)) * (1 + y)[:, None, None]
    >>> T = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU())
    >>> LearnedAggregation(T, random_state=0).fit(bags, y).transform(bags).shape
    (40, 8)
    """

    _parameter_constraints = {
        **Aggregator._parameter_constraints,
        "encoder": [nn.Module, callable],
        "feature_map": [StrOptions({"chi2"}), callable, None],
        "loss": [StrOptions({"log_loss", "hinge", "squared_hinge", "squared_error"}), callable],
        "alpha": [NON_NEGATIVE],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [COUNT],
        "learning_rate": [POSITIVE],
        "learning_rate_decay": [StrOptions({"cosine"}), None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "descriptors_per_sample": [COUNT, Interval(RealNotInt, 0, 1, closed="right"), None],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [COUNT],
        "fine_tune": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "callbacks": [list, tuple, None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "subsample": [COUNT, None],
    }

    classes_ = FittedState("Class labels.")
    coef_ = FittedState("Weights of the linear model, (n_outputs, n_features).")
    intercept_ = FittedState("Offsets of the linear model, (n_outputs,).")

    def __init__(
        self,
        encoder,
        *,
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
        self.encoder = encoder
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

    # What a subclass changes: how an encoder starts, is taken apart and put together again.

    def _start_encoder(self, sample, dtype, generator, n_samples):
        """A new encoder (module) for a sample of descriptors."""
        d = sample.values.shape[1]
        transform = copy.deepcopy(self.encoder) if isinstance(self.encoder, nn.Module) else self.encoder(d)
        encoder = MeanEncoder(transform, sample.units, dtype, self.chunk_size).to(dtype)
        with torch.no_grad():  # lazy layers take their shape from the first batch they see
            encoder.cpu().transform(torch.zeros(2, d, dtype=dtype))
        return encoder

    def _export_encoder(self, encoder):
        return {"encoder": {name: value.cpu().numpy() for name, value in encoder.transform.state_dict().items()}}

    def _build_encoder(self, state, units, dtype):
        sample_width = state["n_descriptor_features"]
        transform = copy.deepcopy(self.encoder) if isinstance(self.encoder, nn.Module) else self.encoder(sample_width)
        transform.load_state_dict({name: torch.as_tensor(value) for name, value in state["encoder"].items()})
        return MeanEncoder(transform, units, dtype, self.chunk_size).to(dtype)

    # Fitting

    @keeps_state_on_failure
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Learn the encoder and the linear model together.

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
            Bags of local descriptors.
        y : array-like of shape (n,) or (n, n_outputs)
            Classes, 0/1 indicators of several labels, or real numbers with ``loss="squared_error"``. May be None
            for a loss of one's own.
        sample_weight : array-like of shape (n,), default=None
            Weights of the bags.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad bags (the bag is named), targets or weights, or fewer descriptors than codewords.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.
        """
        return self._learn(X, y, sample_weight, reset=not (self.warm_start and hasattr(self, "_state")))

    @keeps_state_on_failure
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None, classes=None, sample_weight=None):
        """One pass over a batch of bags; the first call starts the encoder from them.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, default=None
            All classes there will be; needed in the first call of a classifier.

        Returns
        -------
        self
        """
        first = not hasattr(self, "_state")
        task = task_of_classes(classes, self.loss) if first and classes is not None else None
        return self._learn(X, y, sample_weight, reset=first, task=task, max_epochs=1, partial=True)

    def _learn(self, X, y, sample_weight, *, reset, task=None, max_epochs=None, partial=False):
        name = type(self).__name__
        bags, container = self._check_bags(X, reset=reset)
        dtype = compute_dtype(bags.values.dtype)
        device = resolve_device(self.device, bags.values)
        if task is None and reset:
            task, codes = read_targets(y, self.loss, len(bags), name)
        else:
            task = task if task is not None else self._task
            codes = encode_targets(y, task, len(bags), name)
        weight, sample_weight = weigh(sample_weight, self.class_weight, task, codes, len(bags), dtype)
        if not partial:
            check_classes(task, codes, sample_weight, name)
        target = as_target(codes, task, dtype)
        target = None if target is None else target.to(device)
        weight = weight.to(device)

        generator = torch_generator(self.random_state)
        # modules of the user's may draw from the global generators: they get our seed, and nothing moves
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            values = bags.values.to(device)
            if reset:
                sample = draw_sample(bags, self.subsample, generator, self.device, sample_weight)
                encoder = self._start_encoder(sample, dtype, generator, len(bags)).to(device)
                units, width = sample.units, int(sample.values.shape[1])
            else:
                units, width = self._units, self._state["n_descriptor_features"]
                encoder = self._build_encoder(self._state, units, dtype).to(device)
            scaled = values if not isinstance(encoder, MeanEncoder) else _into_units(values, units, dtype)
            everything = Bags(scaled, bags.offsets)
            objective = self._make_objective(encoder, task, everything, weight, dtype, None if reset else self._state)
            objective = objective.to(device)
            if reset:
                self._fit_linear_model(objective, everything, target, weight)

            def export(module):
                state = self._export(module, task)
                state |= {"shift": units.shift, "scale": units.scale, "n_descriptor_features": width}
                return {"_state": state | {"namespace": container.name}, "n_iter_": 0, "history_": []}

            history = self._train(
                objective, everything, target, weight, generator, X, y, sample_weight, export, max_epochs
            )
            if self.fine_tune and not partial and history:
                self._fit_linear_model(objective, everything, target, weight, exact=True)
        earlier = [] if reset else self.history_
        for attribute, value in export(objective).items():
            setattr(self, attribute, value)
        self.history_ = earlier + [row | {"epoch": row["epoch"] + len(earlier)} for row in history]
        self.n_iter_ = len(self.history_)
        return self

    def _train(self, objective, bags, target, weight, generator, X, y, sample_weight, export, max_epochs):
        # a stream of batches has no last epoch that the step could fall to 0 at
        decay = self.learning_rate_decay if max_epochs is None else None
        max_epochs = self.max_epochs if max_epochs is None else max_epochs
        report = FitReport(self, X, y, sample_weight, max_epochs)
        batches = BagBatches(
            bags,
            target,
            weight,
            batch_size=self.batch_size,
            generator=generator,
            descriptors_per_sample=self.descriptors_per_sample,
        )
        history = (
            train(
                objective,
                batches,
                name=type(self).__name__,
                max_epochs=max_epochs,
                optimizer=OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer,
                learning_rate=self.learning_rate,
                learning_rate_decay=decay,
                tol=self.tol,
                n_iter_no_change=self.n_iter_no_change,
                report=report,
                fitted_attributes=export,
                callbacks=self.callbacks or (),
                verbose=self.verbose,
            )
            if max_epochs
            else []
        )
        report.end(lambda: export(objective))
        return history

    def _make_objective(self, encoder, task, bags, weight, dtype, state):
        if task.kind == "own":
            cost = copy.deepcopy(self.loss) if isinstance(self.loss, nn.Module) else self.loss
            cost = OwnCost(cost).to(dtype)
            if state is not None and state["cost"]:
                cost.load_state_dict({name: torch.as_tensor(value) for name, value in state["cost"].items()})
            return Objective(encoder, self.feature_map, cost)
        if state is not None:
            cost = self._linear_cost(state, dtype)
        else:
            with torch.no_grad():
                first = map_features(encoder(_head(bags, 512)), self.feature_map)
            weight = weight[: len(first)].double()
            norm = float((weight @ first.double().square().sum(1) / weight.sum().clamp(min=1e-300)).sqrt())
            gain = 1 / norm if norm > 0 else 1.0
            cost = LinearCost(first.shape[1], task.n_outputs, self.loss, self.alpha, gain, dtype)
        return Objective(encoder, self.feature_map, cost)

    def _fit_linear_model(self, objective, bags, target, weight, *, exact=False):
        """W = argmin J for the encoder as it is, on all descriptors."""
        with torch.no_grad():
            representation = objective.represent(bags)
        fit_cost(objective.cost, representation, target, weight, max_iter=200, exact=exact)

    def _export(self, objective, task):
        state = self._export_encoder(objective.encoder)
        state["task"] = [task.kind, task.n_outputs, task.is_1d]
        if task.classes is not None:
            state["classes"] = task.classes
        if task.kind == "own":
            state["cost"] = {name: value.cpu().numpy() for name, value in objective.cost.state_dict().items()}
        else:
            cost = objective.cost
            state["coef"] = (cost.weight * cost.gain).detach().cpu().numpy()
            state["intercept"] = cost.bias.detach().cpu().numpy().copy()
            state["gain"] = float(cost.gain)
        return state

    def _linear_cost(self, state, dtype):
        cost = LinearCost(state["coef"].shape[1], len(state["coef"]), self.loss, self.alpha, state["gain"], dtype)
        with torch.no_grad():
            cost.weight.copy_(torch.as_tensor(state["coef"]) / state["gain"])
            cost.bias.copy_(torch.as_tensor(state["intercept"]))
        return cost

    @property
    def _task(self):
        kind, n_outputs, is_1d = self._state["task"]
        return Task(kind, self._state.get("classes"), n_outputs, is_1d)

    # Using it

    def _encode(self, bags, dtype, device):
        encoder = self._build_encoder(self._state, self._units, dtype).to(device).eval()
        if isinstance(encoder, MeanEncoder):
            bags = Bags(_into_units(bags.values.to(device), self._units, dtype), bags.offsets)
        return encoder(bags)

    def _outputs(self, X, method):
        check_fitted(self, method, X)
        bags, container = self._check_bags(X, reset=False)
        with torch.no_grad():
            mapped = map_features(self._encode_bags(bags), self.feature_map)
            cost = self._linear_cost(self._state, mapped.dtype).to(mapped.device)
            return cost.outputs(mapped), container

    @_predicts("log_loss", "hinge", "squared_hinge", "squared_error")
    def predict(self, X):
        """Class, 0/1 labels or real targets of each bag.

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
            Bags of local descriptors.

        Returns
        -------
        array of shape (n,) or (n, n_outputs)
        """
        outputs, container = self._outputs(X, "predict")
        task = self._task
        if task.kind == "regression":
            return container.wrap(outputs[:, 0] if task.is_1d else outputs)
        if task.kind == "multilabel":
            return container.wrap((outputs > 0).to(torch.int64))
        codes = (outputs[:, 0] > 0).long() if task.kind == "binary" else outputs.argmax(1)
        if task.classes.dtype.kind not in "biuf":
            return task.classes[codes.cpu().numpy()]  # words stay numpy: tensors cannot hold them
        return container.wrap(task.classes[codes.cpu().numpy()])

    @_predicts("log_loss", "hinge", "squared_hinge")
    def decision_function(self, X):
        """Linear score of each class (n, n_classes), or of the second of two (n,).

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
            Bags of local descriptors.
        """
        outputs, container = self._outputs(X, "decision_function")
        return container.wrap(outputs[:, 0] if self._task.kind == "binary" else outputs)

    @_predicts("log_loss")
    def predict_proba(self, X):
        """Probability of each class, or of each label by itself: (n, n_classes).

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d) or (n, n_features)
            Bags of local descriptors.
        """
        outputs, container = self._outputs(X, "predict_proba")
        kind = self._task.kind
        if kind == "binary":
            return container.wrap(torch.cat([torch.sigmoid(-outputs), torch.sigmoid(outputs)], dim=1))
        return container.wrap(torch.sigmoid(outputs) if kind == "multilabel" else torch.softmax(outputs, dim=1))

    @_predicts("log_loss")
    def predict_log_proba(self, X):
        """Logarithm of `predict_proba`."""
        check_fitted(self, "predict_log_proba", X)
        probability = self.predict_proba(X)
        return probability.log() if isinstance(probability, torch.Tensor) else _log(probability)

    @_predicts("log_loss", "hinge", "squared_hinge", "squared_error")
    def score(self, X, y, sample_weight=None):
        """Accuracy of a classifier, R² of a regressor.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        float
        """
        metric = r2_score if self.loss == "squared_error" else accuracy_score
        weight = None if sample_weight is None else to_numpy(sample_weight)
        return float(metric(to_numpy(y), to_numpy(self.predict(X)), sample_weight=weight))

    @property
    def _n_features_out(self):
        d = self._state["n_descriptor_features"]
        encoder = self._build_encoder(self._state, self._units, torch.float32).eval()
        with torch.no_grad():
            return encoder(Bags(torch.zeros(1, d), np.array([0, 1]))).shape[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = isinstance(self.loss, str)
        if self.loss == "squared_error":
            tags.estimator_type = "regressor"
            tags.regressor_tags = RegressorTags()
            tags.target_tags.multi_output = True
        elif isinstance(self.loss, str):
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags


def _log(array):
    if isinstance(array, np.ndarray):
        with np.errstate(divide="ignore"):
            return np.log(array)
    return array.__array_namespace__().log(array)


def _head(bags, n):
    offsets = bags.offsets[: n + 1]
    return Bags(bags.values[: offsets[-1]], offsets)


def _into_units(values, units, dtype):
    shift = torch.as_tensor(units.shift, device=values.device)
    return ((values.double() - shift) / units.scale).to(dtype)
