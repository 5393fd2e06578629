"""Aggregation learned with a classifier: encoder and linear model minimise one cost (Katharopoulos et al. 2017).

Algorithm 1: start the encoder from a clustering, fit the classifier W₀, descend in both on random samples of the
descriptors (eq. 4 and 5), then fit the classifier once more on all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Literal

import numpy as np
import torch
from torch import nn

from sklinvariant._compat import FitReport, fit_context, with_callbacks
from sklinvariant._settings import draw_seed, making_modules, with_own_settings
from sklinvariant.aggregation._aggregator import Aggregator
from sklinvariant.aggregation._codebook import draw_sample
from sklinvariant.aggregation._linear_predictor import LinearPredictor
from sklinvariant.base import (
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    ShareOfAll,
    Verbose,
    declared,
    keeps_state_on_failure,
    resolve_device,
    torch_generator,
)
from sklinvariant.networks import Bags, CustomLoss, LinearCost, MeanEncoder, Objective, fit_cost, map_features
from sklinvariant.ops import compute_dtype
from sklinvariant.training import OPTIMIZERS, BagBatches, Batch, prepare_targets, set_fitted, task_of_classes, train

_GAIN_SAMPLE = 512  # bags that the size of the representation is measured on


@declared
class AggregationLearner(LinearPredictor, Aggregator):
    """Base of the aggregations learned with a classifier: the cost, its descent, and what is done with the model.

    Parameters
    ----------
    feature_map : {"chi2"}, callable or None
        Differentiable map between the representation and the linear model: "chi2" is that of
        `sklearn.kernel_approximation.AdditiveChi2Sampler`, for non-negative representations.
    loss : {"log_loss", "hinge", "squared_hinge", "squared_error"}, callable or Module
        What is minimised. The first three make a classifier, "squared_error" a regressor. A callable
        ``loss(representation, y)`` takes the mapped representation (n, n_features) of a batch and its targets, numbers
        as they were given and words as class numbers, or ``loss(representation)`` where y is None. It gives a number,
        or one for each bag, which ``sample_weight`` needs. It may be a module with parameters of its own (W of the
        paper); there is then no ``predict``.
    alpha : float
        L2 penalty of the linear model, on representations scaled to a mean norm of 1.
    max_epochs : int
        Most passes over the bags; 0 leaves the encoder as it starts.
    batch_size : int
        Bags a step.
    learning_rate : float
        Step size at the start; the encoder's parameters are in units of the data's spread.
    learning_rate_decay : {"cosine"} or None
        The step falls to 0 along half a cosine over ``max_epochs``, or stays. ``partial_fit`` keeps it.
    optimizer : {"adam", "sgd"} or torch.optim.Optimizer class
        "sgd" has momentum 0.9.
    descriptors_per_sample : int, float or None
        Descriptors drawn from each bag in a step (eq. 5), or their share (a float, rounded up); None takes all. Fewer
        are quicker and keep the codewords from fitting the noise of the training bags; bags of very few
        descriptors may need all.
    tol : float or None
        Training stops when an epoch's loss has not fallen by this for ``n_iter_no_change`` epochs; None never, so that
        the step comes to its end.
    n_iter_no_change : int
        Epochs to wait for that.
    fine_tune : bool
        Fit the linear model once more on all descriptors at the end (algorithm 1).
    class_weight : dict, "balanced" or None
        Weights of the classes.
    callbacks : list of skorch callbacks or None
        Called during training; they can monitor ``train_loss``. Those that cannot work are refused.
        Callbacks of scikit-learn are set by ``set_callbacks``.
    warm_start : bool
        Go on from the previous fit.
    verbose : int
        1 shows a progress bar of the epochs.
    subsample : int or None
        Most descriptors that the start is made from; None takes all.
    """

    _: KW_ONLY
    feature_map: Literal["chi2"] | Callable | None = None
    loss: Literal["log_loss", "hinge", "squared_hinge", "squared_error"] | Callable = "log_loss"
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

    # What a subclass gives: how an encoder starts, is taken apart and put together again.

    def _start_encoder(self, sample, dtype, generator, n_samples):
        """A new encoder (module) for a sample of descriptors."""
        raise NotImplementedError

    def _export_encoder(self, encoder):
        """The encoder's parameters as numpy arrays."""
        raise NotImplementedError

    def _build_encoder(self, state, units, dtype):
        """The encoder of a fitted state."""
        raise NotImplementedError

    # Fitting

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
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
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None, classes=None, sample_weight=None):
        """One pass over a batch of bags; the first call starts the encoder from them.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, default=None
            All classes there will be; needed in the first call of a classifier, unless y holds them all.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, and with ``class_weight="balanced"``: one batch does not tell how frequent classes are.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" cannot be had from one batch after the other: give the weights that '
                'sklearn.utils.class_weight.compute_class_weight("balanced", classes=..., y=...) finds, as a dict'
            )
        first = not hasattr(self, "_state")
        task = task_of_classes(classes, self.loss) if first and classes is not None else None
        return self._learn(X, y, sample_weight, reset=first, task=task, max_epochs=1, partial=True)

    def _learn(self, X, y, sample_weight, *, reset, task=None, max_epochs=None, partial=False):
        bags, container = self._check_bags(X, reset=reset)
        dtype = compute_dtype(bags.values.dtype)
        device = resolve_device(self.device, bags.values)
        targets = prepare_targets(
            y,
            sample_weight,
            self.class_weight,
            loss=self.loss,
            task=task if reset else self._task,
            n_samples=len(bags),
            dtype=dtype,
            name=type(self).__name__,
            whole=not partial or (reset and task is None),
        )
        generator = torch_generator(self.random_state)
        own = torch.Generator().manual_seed(draw_seed(generator))
        if reset:
            sample = draw_sample(bags, self.subsample, generator, self.device, targets.sample_weight)
            encoder, units = self._start_encoder(sample, dtype, generator, len(bags)), sample.units
        else:
            encoder, units = self._build_encoder(self._state, self._units, dtype), self._units
        encoder.generator = own
        data = _everything(bags, targets, encoder.to(device), device)
        objective = self._make_objective(encoder, targets.task, data, dtype, None if reset else self._state)
        if reset:
            self._fit_linear_model(objective, data)

        def export(module):
            state = self._export_encoder(module.encoder) | module.cost.export() | targets.task.export()
            state |= {"shift": units.shift, "scale": units.scale, "namespace": container.name}
            state["n_descriptor_features"] = int(bags.values.shape[1])
            return {"_state": state, "n_iter_": 0, "history_": []}

        max_epochs = self.max_epochs if max_epochs is None else max_epochs
        report = FitReport(self, X, y, targets.sample_weight, max_epochs)
        # a stream of batches has no last epoch that the step could fall to 0 at
        decay = None if partial else self.learning_rate_decay
        earlier = [] if reset else self.history_

        def finish(history):
            if self.fine_tune and not partial and history:
                self._fit_linear_model(objective, data, exact=True)
            set_fitted(self, export(objective), history, earlier)

        self._train(objective, data, generator, report, export, finish, max_epochs, decay)
        return self

    def _train(self, objective, data, generator, report, export, finish, max_epochs, decay):
        batches = BagBatches(
            data.bags,
            data.target,
            data.weight,
            batch_size=self.batch_size,
            generator=generator,
            descriptors_per_sample=self.descriptors_per_sample,
        )
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
            finish=finish,
            callbacks=self.callbacks or (),
            verbose=self.verbose,
        )

    def _make_objective(self, encoder, task, data, dtype, state):
        """Encoder, feature map and cost: a new cost, or that of a fitted ``state``."""
        if task.kind == "own":
            loss = copy.deepcopy(self.loss) if isinstance(self.loss, nn.Module) else self.loss
            cost = CustomLoss(loss, encoder.generator).to(dtype)
            if state is not None:
                cost.load_state_dict({name: torch.as_tensor(value) for name, value in state["cost"].items()})
        elif state is not None:
            cost = self._restore_cost(dtype)
        else:
            with torch.no_grad():
                first = map_features(encoder(_head(data.bags, _GAIN_SAMPLE)), self.feature_map)
            cost = LinearCost.start(first, data.weight[: len(first)], task.n_outputs, self.loss, self.alpha)
        return Objective(encoder, self.feature_map, cost).to(data.bags.values.device)

    def _fit_linear_model(self, objective, data, *, exact=False):
        """W = argmin J for the encoder as it is, on all descriptors."""
        with torch.no_grad():
            representation = objective.represent(data.bags)
        fit_cost(objective.cost, representation, data.target, data.weight, max_iter=200, exact=exact)

    # Using it; `LinearPredictor` has the rest.

    def _encode(self, bags, dtype, device):
        encoder = self._build_encoder(self._state, self._units, dtype).to(device).eval()
        return encoder(encoder.prepare(bags, device))

    @property
    @with_own_settings
    def _n_features_out(self):
        d = self._state["n_descriptor_features"]
        encoder = self._build_encoder(self._state, self._units, torch.float32).eval()
        with torch.no_grad():
            return encoder(Bags(torch.zeros(1, d, dtype=torch.float32, device="cpu"), np.array([0, 1]))).shape[1]


@declared
class LearnedAggregation(AggregationLearner):
    """Any encoder of local descriptors, learned together with a classifier or a regressor.

    Minimises ``Σ_i J(R(F_i; Θ), y_i; W)`` over Θ and W, where ``R(F; Θ) = (1/m) Σ_n T(f_n; Θ)`` (eq. 1 and 4 of
    [1]_), for a T of your own. `LearnedBoW`, `LearnedVLAD` and `LearnedFisherVector` are ready-made uses of it.

    Parameters
    ----------
    encoder : torch.nn.Module or callable
        The function T: a module that takes ``(rows, d)`` to ``(rows, D)``. It sees descriptors that are centred and
        scaled to a mean square of 1. A module is copied, a callable ``encoder(d)`` makes one. What it draws from the
        global generators of torch, such as dropout, is seeded by ``random_state``; one such module runs at a time.

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

    encoder: nn.Module | Callable

    def _start_encoder(self, sample, dtype, generator, n_samples):
        """A new encoder (module) for a sample of descriptors."""
        d = sample.values.shape[1]
        with making_modules(generator.initial_seed()):
            encoder = MeanEncoder(self._make_transform(d), sample.units, dtype, self.chunk_size).to(dtype)
            try:
                with torch.no_grad():  # lazy layers take their shape from the first batch they see
                    out = encoder.cpu().transform(torch.zeros(2, d, dtype=dtype))
            except RuntimeError as error:
                raise ValueError(f"encoder cannot take descriptors of shape (2, {d}): {error}") from error
        if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != 2:
            got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise ValueError(f"encoder must make (rows, D) of (rows, {d}); of 2 rows it made {got}")
        return encoder

    def _make_transform(self, d):
        transform = copy.deepcopy(self.encoder) if isinstance(self.encoder, nn.Module) else self.encoder(d)
        if not isinstance(transform, nn.Module):
            raise ValueError(f"encoder({d}) must make a torch.nn.Module, got {type(transform).__name__}")
        return transform

    def _export_encoder(self, encoder):
        return {"encoder": {name: value.cpu().numpy() for name, value in encoder.transform.state_dict().items()}}

    def _build_encoder(self, state, units, dtype):
        with making_modules(0):
            transform = self._make_transform(state["n_descriptor_features"])
        transform.load_state_dict({name: torch.as_tensor(value) for name, value in state["encoder"].items()})
        return MeanEncoder(transform, units, dtype, self.chunk_size).to(dtype)


def _everything(bags, targets, encoder, device):
    """All bags with their targets as one `Batch` on the device."""
    target = None if targets.values is None else targets.values.to(device)
    bags = encoder.prepare(Bags(bags.values.to(device), bags.offsets), device)
    return Batch(bags, target, targets.weight.to(device))


def _head(bags, n):
    offsets = bags.offsets[: n + 1]
    return Bags(bags.values[: offsets[-1]], offsets)
