"""A classifier out of the trunk of a clusterer and few labels: section 4.1 of Ji, Henriques, Vedaldi (2019).

Semi-supervised fine-tuning: the trunk is learned without labels; a linear model on its features, and the trunk again,
are learned with those there are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, MetaEstimatorMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_consistent_length, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from sklinvariant._compat import fit_context, raise_for_params, with_callbacks
from sklinvariant.base import (
    Array,
    Count,
    CountOrZero,
    FittedState,
    NonNegative,
    OnDevice,
    PassingReader,
    Positive,
    Reader,
    RealNumber,
    TorchEstimator,
    Weights,
    Whole,
    computing_device,
    declared,
    integers,
    keeps_state_on_failure,
    restore_weights,
)
from sklinvariant.cluster._class_network import ClassNetwork
from sklinvariant.cluster._iic_clusterer import IICClusterer
from sklinvariant.cluster._partly_labelled import PartlyLabelledClassifier
from sklinvariant.networks import LinearCost, fit_cost
from sklinvariant.pairs import changed, default_views, same, shuffled
from sklinvariant.training import Task, TrainedEstimator, WithOptimizer, prepare_targets
from sklinvariant.transforms import Transform

_AT_ONCE = 1024  # samples that are seen at a time


class LabelledBatch:
    """What `ClassNetwork` is called with."""

    def __init__(self, samples, target, weight):
        self.samples, self.target, self.weight = samples, target, weight

    def __len__(self):
        return len(self.samples)


class LabelledBatches:
    """Batches of labelled samples in a new random order, and as new ``views``, each time they are walked through."""

    def __init__(self, everything, views, *, batch_size, generator):
        self.everything, self.views, self.batch_size, self.generator = everything, views, batch_size, generator

    def __len__(self):
        return len(self.everything)

    @property
    def n_steps(self):
        return math.ceil(len(self) / self.batch_size)

    def __iter__(self):
        samples, target, weight = self.everything.samples, self.everything.target, self.everything.weight
        for index in shuffled(torch.arange(len(self), device=samples.device), self.batch_size, self.generator):
            seen = changed(samples.index_select(0, index), self.views, self.generator)
            yield LabelledBatch(seen, target[index], weight[index]), None


@dataclass
class _Labelled:
    """All labelled samples, as one batch, their task, and the seed of the views in prediction."""

    batch: LabelledBatch
    task: Task
    seed: int


def views_of(clusterer, n_axes, n_channels):
    """How an `IICClusterer` changes samples to have pairs of them."""
    if callable(clusterer.pairs):
        return clusterer.pairs
    if clusterer.transforms is not None:
        return clusterer.transforms
    return default_views(n_channels) if n_axes == 4 else same


def fixed_views(samples, views, n_views, seed):
    """The samples and ``n_views - 1`` changes of them; each change is one for all, so no sample's depends on others."""
    yield samples
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_views - 1):
        if isinstance(views, Transform):
            params = views.sample(1, generator)
            yield changed(samples, lambda x, _, params=params: views.apply(x, params), generator)  # type: ignore[misc]
        else:
            state = generator.get_state()
            seen = []
            for sample in samples.split(1):
                generator.set_state(state)
                seen.append(changed(sample, views, generator))
            yield torch.cat(seen)


@torch.no_grad()
def mean_features(network, samples, views, n_views, seed):
    """(n, D) features of the samples, averaged over `fixed_views`."""
    parts = []
    for part in samples.split(_AT_ONCE):
        total = 0
        for seen in fixed_views(part, views, n_views, seed):
            total = total + network.features(seen)
        parts.append(total / n_views)
    return torch.cat(parts)


class OfClustererReader(Reader):
    """Reads samples as the fitted clusterer does."""

    def _check(self, estimator, X, kind, reset):
        return replace(estimator._inner._read_samples(X), device=computing_device(estimator, kind))


@declared
class IICClassifier(
    OnDevice,
    WithOptimizer,
    TrainedEstimator,
    ClassNamePrefixFeaturesOutMixin,
    PartlyLabelledClassifier,
    TransformerMixin,
    MetaEstimatorMixin,
    TorchEstimator,
):
    """A network that learned clusters of many samples, fine-tuned to classes by the few that have a label.

    The heads of an `IICClusterer` are left aside for a linear model of the classes, which is first fitted to the
    trunk's features as they are (a logistic regression); then both descend in the log-loss, the trunk in smaller steps.

    Parameters
    ----------
    clusterer : IICClusterer
        A clone of it is fitted to all samples, without labels. Its parameters are ``clusterer__…``. One that is fitted
        already is taken as it is inside a `sklearn.frozen.FrozenEstimator`.
    transforms : "clusterer", callable or None
        How samples are changed in training, anew in each epoch: as the clusterer changes them to have pairs, which is
        for rows not at all; by ``transforms(samples, generator)``; or None, not at all.
    n_views : int
        How often a sample is seen when it is predicted: as it is, and in ``n_views - 1`` ways of ``transforms`` that
        were drawn once for all; the paper has 10. Their features are averaged.
    weight_decay : float
        L2 penalty of the linear model, on features scaled to a mean norm of 1.
    max_epochs : int
        Most passes over the labelled samples; 0 leaves the trunk as it is.
    batch_size : int
        Labelled samples a step.
    learning_rate : float
        Step size of the linear model at the start.
    trunk_learning_rate : float
        Step size of the trunk at the start; 0 leaves it as it is.
    learning_rate_decay : {"cosine"} or None
        The steps fall to 0 along half a cosine over ``max_epochs``, or stay.
    class_weight : dict, "balanced" or None
        Weights of the classes.
    unlabeled_value : label or None
        The rows of y that have no label. None where all rows have one, and -1 is a class.
    warm_start : bool
        Let `fit` go on fine-tuning what was learned before, for the same classes. The clusterer is not fitted again.
    checkpoint : str, path or None
        A file that `fit` writes after each epoch of fine-tuning, and from which the same fit of the same samples goes
        on where it was interrupted, to the same model. It is gone when the fit is done. The clusterer is fitted anew
        before: give it a ``random_state``, and a checkpoint of its own, or freeze it.
    callbacks : list of skorch callbacks or None
        Called during fine-tuning; they can monitor ``train_loss``. Those that cannot work are refused.
        Callbacks of scikit-learn are set by ``set_callbacks``.
    random_state : int, RandomState or None
        Seeds order and views.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        In order, without ``unlabeled_value``.
    clusterer_ : IICClusterer
        The fitted clusterer, which fine-tuning does not change.
    coef_ : ndarray of shape (1, n_trunk_features) or (n_classes, n_trunk_features)
        Weights of the linear model on the fine-tuned features.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Its offsets.
    history_ : list of dict
        Epoch, mean loss and seconds of each epoch of fine-tuning.
    n_iter_ : int
        Epochs made.

    References
    ----------
    X. Ji, J. F. Henriques, A. Vedaldi: Invariant Information Clustering for Unsupervised Image Classification and
    Segmentation, 2019; section 4.1, table 3.

    Examples
    --------
    20 labels for 1000 digits:

    >>> from sklearn.datasets import load_digits
    >>> from sklinvariant.cluster import IICClassifier, IICClusterer
    >>> X, y = load_digits(return_X_y=True)
    >>> few = y[:1000].copy()
    >>> few[20:] = -1
    >>> model = IICClassifier(IICClusterer(10, max_epochs=10, random_state=0), random_state=0).fit(X[:1000], few)
    >>> model.score(X[1000:], y[1000:]) > 0.8
    True

    A clusterer that is fitted already:

    >>> from sklearn.frozen import FrozenEstimator
    >>> fitted = FrozenEstimator(model.clusterer_)
    >>> IICClassifier(fitted, random_state=0).fit(X[:20], y[:20]).predict(X[:5]).tolist()
    [0, 1, 2, 3, 4]
    """

    _reader = OfClustererReader()
    _layout = {
        "trunk": Weights(),
        "coef": Array("o", "f"),
        "intercept": Array("o"),
        "gain": RealNumber(),
        "classes": Array("c", kinds="biufUO"),
        "seed": Whole(0),
    }
    clusterer: IICClusterer | FrozenEstimator
    _: KW_ONLY
    transforms: Literal["clusterer"] | Callable | None = "clusterer"
    n_views: Annotated[int, integers(1, 10000)] = 1
    weight_decay: NonNegative = 1e-4
    max_epochs: CountOrZero = 50
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    trunk_learning_rate: NonNegative = 3e-4
    class_weight: dict | Literal["balanced"] | None = None
    unlabeled_value: Any = -1
    classes_ = FittedState("Class labels.")
    coef_ = FittedState("Weights of the linear model on the fine-tuned features.")
    intercept_ = FittedState("Offsets of the linear model.")

    def _check_layout(self):
        (n_outputs, width), n_classes = self._state["coef"].shape, len(self._state["classes"])
        trunk = self._inner._state["n_trunk_features"]
        if width != trunk or n_outputs != (1 if n_classes == 2 else n_classes):
            raise ValueError(f"coef of shape {(n_outputs, width)} does not fit {n_classes} classes, {trunk} features")

    @keeps_state_on_failure
    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **params):
        """Fit the clusterer to all samples, and fine-tune its trunk with those that have a label.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])
            Rows or images, as the clusterer takes them.
        y : array-like of shape (n,)
            Labels, ``unlabeled_value`` where there is none. Words beside -1 must come as dtype object, as in
            `sklearn.semi_supervised`: an array of words would turn -1 into a word.
        **params : dict
            Metadata for ``fit`` of the clusterer, which must have requested it, where metadata routing is enabled.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where no row has a label, or all have the same one; for what the clusterer cannot take; and where
            ``warm_start`` cannot go on, from other classes or another clusterer.
        NotFittedError
            For a frozen clusterer that is not fitted.
        FloatingPointError
            Where the loss stops being finite; it names the epoch and what to change.
        """
        raise_for_params(params, self, "fit")
        PassingReader().read(self, X)
        frozen = isinstance(self.clusterer, FrozenEstimator)
        inner = self.clusterer.estimator if frozen else self.clusterer
        if not isinstance(inner, IICClusterer):
            raise ValueError(f"clusterer must be an IICClusterer, frozen or not, got a frozen {type(inner).__name__}")
        if inner.pairs == "explicit" and not frozen:
            raise ValueError(
                'a clusterer with pairs="explicit" learns from pairs, which have no classes; fit it first, and give '
                "FrozenEstimator(clusterer)"
            )
        labels, labelled = self._check_labels(y)
        check_consistent_length(X, labelled)
        if len(set(labels.tolist())) == 1:
            hint = "" if labelled.all() else f"; rows of unlabeled_value={self.unlabeled_value!r} count as unlabelled"
            raise ValueError(
                f"{type(self).__name__} needs labels of at least 2 classes, but there is one class, "
                f"{labels.tolist()[0]!r}{hint}"
            )
        targets = prepare_targets(
            labels,
            None,
            self.class_weight,
            loss="log_loss",
            task=None,
            n_samples=len(labels),
            dtype=torch.float64,
            name=type(self).__name__,
            whole=True,
        )
        if not self._goes_on():
            routed = process_routing(self, "fit", **params)
            self.clusterer_ = clone(self.clusterer).fit(X, None, **routed.clusterer.fit)
        self._train(X, labels, labelled=labelled, targets=targets)
        return self

    def _data(self, given, y, generator, *, reset, labelled, targets):
        task, samples = targets.task, given.tensor()
        if not reset and task.classes.tolist() != self.classes_.tolist():
            raise ValueError(
                f"{type(self).__name__} cannot go on with the classes {task.classes.tolist()}: it was fitted with "
                f"{self.classes_.tolist()}. Set warm_start=False, or fit a clone"
            )
        samples = samples[torch.from_numpy(labelled).to(samples.device)]
        values = targets.values.to(samples) if task.kind == "binary" else targets.values.to(samples.device)
        batch = LabelledBatch(samples, values, targets.weight.to(samples))
        return _Labelled(batch, task, generator.initial_seed())

    def _identity(self, data):
        batch = data.batch
        trunk = self._inner._state["network"].values()
        return {
            "samples": [batch.samples],
            "targets": [batch.target, batch.weight],
            "fitted clusterer": [torch.tensor(np.asarray(value)) for value in trunk],
        }

    def _module(self, data, generator):
        batch = data.batch
        network = ClassNetwork(self._inner._network(batch.samples))
        features = mean_features(network.eval(), batch.samples, same, 1, data.seed)
        network.trunk.draw_from(generator)
        network.head = LinearCost.start(features, batch.weight, data.task.n_outputs, "log_loss", self.weight_decay)
        fit_cost(network.head, features, batch.target, batch.weight, max_iter=200, exact=False)
        return network

    def _restored(self, data, generator):
        network = self._network(data.batch.samples)
        network.trunk.draw_from(generator)
        return network

    def _batches(self, data, generator):
        views = self._views(data.batch.samples)
        return LabelledBatches(data.batch, views, batch_size=self.batch_size, generator=generator)

    def _learning_rates(self):
        return {"trunk.*": self.trunk_learning_rate}

    def _export(self, network, data):
        return network.export() | {"classes": data.task.classes, "seed": data.seed}

    def transform(self, X):
        """The features that the fine-tuned trunk gives to the linear model, averaged over the views.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n, n_trunk_features)
        """
        given = self._read(X)
        return given.answer(self._features(given)[0])

    def decision_function(self, X):
        """Linear score of each class, or of the second of two.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n, n_classes), or (n,) for two classes
        """
        given = self._read(X)
        scores = self._scores(given)
        return given.answer(scores[:, 0] if scores.shape[1] == 1 else scores)

    def predict_log_proba(self, X):
        """Logarithm of the probability of each class.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n, n_classes)
            In the order of ``classes_``.
        """
        given = self._read(X)
        return given.answer(_both(self._scores(given)).log_softmax(1))

    def predict_proba(self, X):
        """Probability of each class.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n, n_classes)
            In the order of ``classes_``.
        """
        given = self._read(X)
        return given.answer(_both(self._scores(given)).softmax(1))

    def predict(self, X):
        """Predict the most likely class of each sample.

        Parameters
        ----------
        X : array of shape (n, n_features), (n, h, w) or (n, h, w, c), or list of (h, w[, c])

        Returns
        -------
        array of shape (n,)
        """
        given = self._read(X)
        labels = self.classes_[_both(self._scores(given)).argmax(1).cpu().numpy()]
        return given.answer(labels) if labels.dtype.kind in "biuf" else labels

    @property
    def n_features_in_(self):
        """Number of features, as the clusterer saw them."""
        return self._of_clusterer("n_features_in_")

    @property
    def feature_names_in_(self):
        """Names of the features, as the clusterer saw them."""
        return self._of_clusterer("feature_names_in_")

    def get_metadata_routing(self):
        """Where metadata goes: what is given to ``fit``, to the clusterer's.

        Returns
        -------
        MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(clusterer=self.clusterer, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = copy.deepcopy(get_tags(self.clusterer).input_tags)
        return tags

    def _of_clusterer(self, name):
        if not hasattr(self, "clusterer_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.clusterer_, name)

    @property
    def _inner(self):
        """The fitted `IICClusterer`."""
        return self.clusterer_.estimator if isinstance(self.clusterer_, FrozenEstimator) else self.clusterer_

    def _views(self, samples):
        if self.transforms == "clusterer":
            return views_of(self._inner, samples.ndim, samples.shape[-1])
        return same if self.transforms is None else self.transforms

    def _features(self, given):
        """(n, D) features, and the network."""
        samples = given.tensor()
        network = self._network(samples)
        views = self._views(samples)
        n_views = 1 if views is same else self.n_views
        return mean_features(network, samples, views, n_views, self._state["seed"]), network

    def _network(self, samples):
        """The fitted network, on the device and in the precision of samples."""
        trunk = self._inner._network(samples)
        restore_weights(trunk.trunk, self._state["trunk"], self)
        return ClassNetwork.restore(trunk, self._state, self.weight_decay)

    def _scores(self, given):
        features, network = self._features(given)
        with torch.no_grad():
            return network.head.outputs(features)

    @property
    def _n_features_out(self):
        return self.coef_.shape[1]


def _both(scores):
    """Scores (n, n_classes): of two classes there is one alone, that of the second."""
    return torch.nn.functional.pad(scores, (1, 0)) if scores.shape[1] == 1 else scores
