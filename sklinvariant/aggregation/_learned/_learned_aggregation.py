"""Aggregation learned jointly with a linear model (Katharopoulos et al. 2017).

Algorithm 1: initialise the encoder by clustering, fit the classifier W₀, train both on random samples of the
descriptors (eq. 4 and 5), then fit the classifier once more on all descriptors.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn

from sklinvariant._compat import fit_context, with_callbacks
from sklinvariant._settings import draw_seed, making_modules, with_own_settings
from sklinvariant.aggregation._aggregator import Aggregator
from sklinvariant.aggregation._bag_module import BagModule
from sklinvariant.aggregation._codebook import draw_sample
from sklinvariant.aggregation._learned._linear_predictor import LinearPredictor
from sklinvariant.bags import DescriptorSets
from sklinvariant.base import (
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    ShareOfAll,
    declared,
    load_arrays,
    restore_weights,
)
from sklinvariant.networks import (
    Bags,
    CustomLoss,
    LinearLoss,
    MeanEncoder,
    Objective,
    Units,
    map_features,
    minimize_loss,
    target_deviation,
)
from sklinvariant.training import (
    BagBatches,
    Batch,
    Targets,
    TrainedEstimator,
    WithEarlyStopping,
    WithOptimizer,
    check_same_classes,
    check_same_kind_of_loss,
    prepare_targets,
    task_of_classes,
)

_GAIN_SAMPLE = 512  # number of bags on which the scale of the representation is measured


@dataclass
class _TargetedBags:
    """The checked bags and targets. ``units`` and ``batch``, which contains all bags, are set with the encoder.

    ``own`` seeds the random numbers of user-defined encoders and losses. ``partial`` is True in `partial_fit`.
    """

    bags: DescriptorSets
    targets: Targets
    dtype: torch.dtype
    device: torch.device
    own: torch.Generator
    partial: bool
    units: Units | None = None
    batch: Batch | None = None

    @property
    def sample_weight(self):
        return self.targets.sample_weight

    def take(self, indices):
        """The data of some of the bags."""
        return replace(self, bags=self.bags[indices], targets=self.targets.take(indices))


@declared
class AggregationLearner(LinearPredictor, WithEarlyStopping, WithOptimizer, TrainedEstimator, Aggregator):
    """Base of the aggregations that are learned together with a linear model.

    Parameters
    ----------
    feature_map : {"chi2"}, callable or None
        Differentiable map between the representation and the linear model. "chi2" is the map of
        `sklearn.kernel_approximation.AdditiveChi2Sampler`, for non-negative representations.
    loss : {"log_loss", "hinge", "squared_hinge", "squared_error"}, callable or Module
        Loss to minimise. The first three give a classifier, "squared_error" gives a regressor. A callable is called as
        ``loss(representation, y)`` with the mapped representation (n, n_features) of a batch and its targets, where
        strings are replaced by class numbers, or as ``loss(representation)`` if y is None. It returns one number, or
        one number per bag, which ``sample_weight`` requires. It may be a module with its own parameters (W in the
        paper). With a callable there is no ``predict``.

        With "squared_error", the targets are divided by their standard deviation during training, so that the ``loss``
        of ``history_`` is relative to their variance. ``partial_fit`` takes this scale from the first batch (1 if its
        targets are constant).
    weight_decay : float
        L2 penalty of the linear model, for representations scaled to a mean norm of 1.
    max_epochs : int
        Maximum number of passes over the bags; 0 keeps the initial encoder.
    batch_size : int
        Number of bags in a training step.
    learning_rate : float
        Initial step size, for parameters of the encoder in units of the spread of the data.
    descriptors_per_sample : int, float or None
        Number of descriptors drawn from each bag in a training step (eq. 5), or their share (a float, rounded up). None
        uses all. Lower values are faster and reduce overfitting. Bags with very few descriptors may need all.
    tol : float or None
        Training stops when the loss has not decreased by more than this value for ``n_iter_no_change`` epochs. None
        disables this criterion, so that the learning rate decays to its end.
    fine_tune : bool
        Whether the linear model is fitted once more on all descriptors at the end (algorithm 1).
    class_weight : dict, "balanced" or None
        Weights of the classes.
    subsample : int or None
        Maximum number of descriptors used for the initialisation; None uses all.
    random_state : int, RandomState or None
        Seeds everything random in `fit`. Pass an int to get the same model each time.

    Attributes
    ----------
    classes_ : ndarray
        Class labels of a classifier.
    coef_ : ndarray of shape (n_outputs, n_features)
        Weights of the linear model for the mapped representation.
    intercept_ : ndarray of shape (n_outputs,)
        Offsets of the linear model.
    best_validation_score_ : float or None
        The highest of ``validation_scores_``. It is measured before ``fine_tune`` fits the linear model once more.
    """

    _: KW_ONLY
    feature_map: Literal["chi2"] | Callable | None = None
    loss: Literal["log_loss", "hinge", "squared_hinge", "squared_error"] | Callable = "log_loss"
    weight_decay: NonNegative = 1e-4
    max_epochs: CountOrZero = 30
    batch_size: Count = 64
    learning_rate: Positive = 0.05
    descriptors_per_sample: Count | ShareOfAll | None = 0.3
    fine_tune: bool = True
    class_weight: dict | Literal["balanced"] | None = None
    subsample: Count | None = 200_000

    # Methods that a subclass must define

    def _start_encoder(self, sample, dtype, generator, n_samples):
        """A new encoder for a sample of descriptors: a module with ``prepare`` and ``export``."""
        raise NotImplementedError

    def _build_encoder(self, state, units, dtype):
        """The encoder from a fitted state."""
        raise NotImplementedError

    # Fitting

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the encoder and the linear model together.

        Parameters
        ----------
        y : array-like of shape (n,) or (n, n_outputs)
            Classes, 0/1 indicators of several labels, or real numbers with ``loss="squared_error"``. May be None if
            the loss is user-defined.
        sample_weight : array-like of shape (n,), default=None
            Weights of the bags.

        Raises
        ------
        ValueError
            If bags (the message names the bag), targets or weights are invalid, if there are fewer descriptors than
            codewords, or if ``early_stopping`` has too few samples to hold out.
        """
        self._train(X, y, sample_weight=sample_weight)
        return self

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one pass over a part of the bags. The first call initialises the encoder from them.

        Parameters
        ----------
        classes : array-like, default=None
            All classes of all calls. Required in the first call of a classifier, unless y contains all of them.

        Raises
        ------
        ValueError
            If bags (the message names the bag), targets or weights are invalid, if the first call has fewer descriptors
            than codewords, or for ``class_weight="balanced"``, because the class frequencies of a part are not those of
            all bags.
        """
        self._train(X, y, partial=True, sample_weight=sample_weight, is_part=True, classes=classes)
        return self

    def _data(self, given, y, generator, *, reset, sample_weight, classes=None, is_part=False):
        bags = given.data
        _check_loss(self.loss, y)
        if not reset:
            check_same_kind_of_loss(self.loss, self._task, type(self).__name__)
        task = self._task if not reset else None if classes is None else task_of_classes(classes, self.loss)
        if classes is not None and not reset:
            check_same_classes(classes, self._task.classes, type(self).__name__)
        targets = prepare_targets(
            y,
            sample_weight,
            self.class_weight,
            loss=self.loss,
            task=task,
            n_samples=len(bags),
            dtype=given.dtype,
            name=type(self).__name__,
            partial=is_part,
        )
        own = torch.Generator().manual_seed(draw_seed(generator))
        return _TargetedBags(bags, targets, given.dtype, given.device, own, is_part)

    def _identity(self, data):
        targets = [value for value in (data.targets.values, data.targets.weight) if value is not None]
        return {"samples": [data.bags.values, torch.as_tensor(data.bags.offsets)], "targets": targets}

    def _module(self, data, generator):
        sample = draw_sample(data.bags, self.subsample, generator, data.device, data.dtype, data.sample_weight)
        data.units = sample.units
        return self._make_objective(self._start_encoder(sample, data.dtype, generator, len(data.bags)), data)

    def _restored(self, data, generator):
        data.units = self._units
        return self._make_objective(self._build_encoder(self._state, data.units, data.dtype), data, self._state)

    def _pretrain(self, objective, data):
        self._fit_linear_model(objective, data.batch)

    def _batches(self, data, generator):
        return BagBatches(
            data.batch.bags,
            data.batch.target,
            data.batch.weight,
            batch_size=self.batch_size,
            generator=generator,
            descriptors_per_sample=self.descriptors_per_sample,
        )

    def _batches_to_score(self, objective, held_out):
        return [_full_batch(held_out.bags, held_out.targets, objective.encoder, held_out.device)]

    def _finish(self, objective, data, n_epochs):
        if self.fine_tune and not data.partial and n_epochs:
            self._fit_linear_model(objective, data.batch, exact=True)

    def _export(self, objective, data):
        state = objective.encoder.export() | objective.loss.export() | data.targets.task.export()
        state |= {"shift": data.units.shift, "scale": data.units.scale}
        return state | {"n_descriptor_features": int(data.bags.values.shape[1])}

    def _make_objective(self, encoder, data, state=None):
        """The module of encoder, feature map and loss. The loss is new, or restored from a fitted ``state``."""
        encoder.generator = data.own
        data.batch = batch = _full_batch(data.bags, data.targets, encoder.to(data.device), data.device)
        task = data.targets.task
        loss: Any
        if task.kind == "own":
            function = copy.deepcopy(self.loss) if isinstance(self.loss, nn.Module) else self.loss
            loss = CustomLoss(function, data.own).to(data.dtype)  # type: ignore[arg-type]
            if state is not None:
                restore_weights(loss, state["cost"], self, parameters="loss")
        elif state is not None:
            loss = self._restore_loss(data.dtype)
        else:
            with torch.no_grad():
                first = map_features(encoder(_head(batch.bags, _GAIN_SAMPLE)), self.feature_map)
            scale = target_deviation(batch.target, batch.weight) if self.loss == "squared_error" else 1.0
            weight = batch.weight[: len(first)]
            loss = LinearLoss.start(
                first, weight, task.n_outputs, str(self.loss), self.weight_decay, target_scale=scale
            )
        return Objective(encoder, self.feature_map, loss).to(batch.bags.values.device)

    def _fit_linear_model(self, objective, data, *, exact=False):
        """Minimise J over W for a fixed encoder, on all descriptors."""
        with torch.no_grad():
            representation = objective.represent(data.bags)
        minimize_loss(objective.loss, representation, data.target, data.weight, max_iter=200, exact=exact)

    # Prediction; see also `LinearPredictor`

    def _encode(self, bags, dtype, device):
        encoder = self._build_encoder(self._state, self._units, dtype).to(device).eval()
        return encoder(encoder.prepare(bags, device))

    def _representation_module(self, dtype):
        return BagModule(self._build_encoder(self._state, self._units, dtype).eval())

    @property
    @with_own_settings
    def _n_features_out(self):
        d = self._state["n_descriptor_features"]
        encoder = self._build_encoder(self._state, self._units, torch.float32).eval()
        with torch.no_grad():
            return encoder(Bags(torch.zeros(1, d, dtype=torch.float32, device="cpu"), np.array([0, 1]))).shape[1]


@declared
class LearnedAggregation(AggregationLearner):
    r"""Any encoder of local descriptors, learned together with a classifier or a regressor.

    Your own function T with parameters Θ encodes the m descriptors f of a bag F. Their mean R is the input of a linear
    model with weights W, and both are learned to minimise a loss J (equations 1 and 4 of [1]_):

    .. math:: \min_{\Theta, W} \sum_i J(R(F_i; \Theta), y_i; W), \qquad
        R(F; \Theta) = \frac{1}{m} \sum_n T(f_n; \Theta)

    `LearnedBoW`, `LearnedVLAD` and `LearnedFisherVector` are special cases.

    Parameters
    ----------
    encoder : torch.nn.Module or callable
        The function T: a module that maps ``(rows, d)`` to ``(rows, D)``, which is copied, or a callable that returns
        such a module when called as ``encoder(d)``. Its input consists of descriptors that are centred and scaled to a
        mean square of 1. Random numbers that it draws from torch's global generators, for example for dropout, are
        seeded by ``random_state``, and only one such module runs at a time.

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
        d = sample.blocks.shape[1]
        with making_modules(generator.initial_seed()):
            encoder = MeanEncoder(self._make_transform(d), sample.units, dtype, self.chunk_size).to(dtype)
            try:
                with torch.no_grad():  # initialises lazy layers
                    out = encoder.cpu().transform(torch.zeros(2, d, dtype=dtype))
            except RuntimeError as error:
                raise ValueError(f"encoder does not accept descriptors of shape (rows, {d}): {error}") from error
        if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != 2:
            got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise ValueError(f"encoder must map (rows, {d}) to (rows, D), but for 2 rows it returned {got}")
        return encoder

    def _make_transform(self, d):
        transform = copy.deepcopy(self.encoder) if isinstance(self.encoder, nn.Module) else self.encoder(d)
        if not isinstance(transform, nn.Module):
            raise ValueError(f"encoder({d}) must return a torch.nn.Module, got {type(transform).__name__}")
        return transform

    def _build_encoder(self, state, units, dtype):
        with making_modules(0):
            transform = self._make_transform(state["n_descriptor_features"])
        load_arrays(transform, state["encoder"])
        return MeanEncoder(transform, units, dtype, self.chunk_size).to(dtype)


def _full_batch(bags, targets, encoder, device):
    """All bags with their targets as one `Batch` on the device."""
    target = None if targets.values is None else targets.values.to(device)
    bags = encoder.prepare(Bags(bags.values.to(device), bags.offsets), device)
    return Batch(bags, target, targets.weight.to(device))


def _check_loss(loss, y):
    """Raise an error for a user-defined loss that cannot be called with representations, and y unless it is None."""
    if isinstance(loss, str):
        return
    if isinstance(loss, type):
        raise TypeError(f"loss={loss.__name__} is a class. Pass an instance, such as loss={loss.__name__}()")
    arguments = ("representation",) if y is None else ("representation", "y")
    try:
        inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).bind(*arguments)
    except TypeError as error:
        given = "fit was called without y" if y is None else "fit was called with y"
        raise TypeError(
            f"{given}, so that loss is called as loss({', '.join(arguments)}), but it does not accept this: {error}. "
            f"Pass {'y' if y is None else 'y=None'}, or another loss"
        ) from None
    except ValueError:  # the signature of a built-in function is not known
        pass


def _head(bags, n):
    offsets = bags.offsets[: n + 1]
    return Bags(bags.values[: offsets[-1]], offsets)
