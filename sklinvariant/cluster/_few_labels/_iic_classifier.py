"""A classifier from the trunk of a clusterer and few labels: section 4.1 of Ji, Henriques, Vedaldi (2019).

Semi-supervised fine-tuning: the trunk is trained without labels, then a linear model on its features is fitted to the
available labels, and finally both are trained on them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import KW_ONLY, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import Tags, check_consistent_length, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from sklinvariant._compat import fit_context, raise_for_params, safe_indexing, with_callbacks
from sklinvariant.base import (
    Count,
    CountOrZero,
    NonNegative,
    OnDevice,
    Positive,
    Reader,
    computing_device,
    declared,
    dense_tensor,
    integers,
)
from sklinvariant.cluster._evaluation import at_once
from sklinvariant.cluster._few_labels._class_network import ClassNetwork
from sklinvariant.cluster._few_labels._fitted_classes import FittedClasses
from sklinvariant.cluster._few_labels._labelled_batches import LabelledBatches, LabelledSamples
from sklinvariant.cluster._few_labels._view_features import mean_features
from sklinvariant.cluster._iic._fitted_clusters import samples_of
from sklinvariant.cluster._iic._iic_clusterer import SAMPLES, IICClusterer
from sklinvariant.images import ImageFiles
from sklinvariant.networks import LinearLoss, minimize_loss
from sklinvariant.pairs import same
from sklinvariant.training import (
    TrainedEstimator,
    WithEarlyStopping,
    WithOptimizer,
    check_same_classes,
    prepare_targets,
    task_of_classes,
)


def some_samples(X: Any, rows: np.ndarray) -> Any:
    """Some of the samples of X, with its array type."""
    if isinstance(X, ImageFiles):
        return ImageFiles([X.sources[row] for row in rows])
    if isinstance(X, torch.Tensor):
        X = dense_tensor(X)
    elif not hasattr(X, "__getitem__"):  # an object that can only be converted to an array
        X = np.asarray(X)
    return safe_indexing(X, rows)


class OfClustererReader(Reader):
    """Reads samples as the fitted clusterer does."""

    needs, takes_files = SAMPLES.needs, True

    def opened(self, sources: list[str | bytes]) -> Any:
        """The images in files."""
        return SAMPLES.opened(sources)

    def _check(self, estimator, X, kind, reset):
        given = SAMPLES._check(estimator._inner, X, kind, reset=False)
        return replace(given, device=computing_device(estimator, kind))


@declared
class IICClassifier(OnDevice, WithEarlyStopping, WithOptimizer, TrainedEstimator, FittedClasses):
    """Classifier that fine-tunes the network of an `IICClusterer` with the few samples that have a label.

    A linear model of the classes replaces the heads of the clusterer. First it is fitted to the features of the trunk
    and, with ``passthrough``, to the rows themselves (a logistic regression). Then both are trained by the log-loss,
    the trunk with a smaller learning rate.

    A clusterer is fitted first, which takes seconds to minutes. If class sizes differ much, compare with
    `sklearn.semi_supervised.SelfTrainingClassifier`.

    Parameters
    ----------
    clusterer : IICClusterer
        A clone of the clusterer is fitted to all samples, without labels. Its parameters are ``clusterer__…``. Its
        ``image_size`` also resizes the images of the classifier. To use a clusterer that is already fitted, wrap it in
        a `sklearn.frozen.FrozenEstimator`.
    transforms : "clusterer", callable or None
        Random transformation of the samples in each epoch. "clusterer" uses the views of the clusterer, which for rows
        are the rows themselves. A callable is called as ``transforms(samples, generator)``. None does not transform
        samples.
    n_views : int
        Number of views of a sample in prediction: the sample itself, and ``n_views - 1`` views by ``transforms``, which
        are the same for all samples. Their features are averaged. The paper uses 10.
    passthrough : bool
        Whether the linear model is also given the rows, scaled as the clusterer scales them and to half the mean norm
        of the features of the trunk. Clusters may join classes that the rows separate. It has no effect on images.
    weight_decay : float
        L2 penalty of the linear model, for features scaled to a mean norm of 1.
    max_epochs : int
        Maximum number of passes over the labelled samples; 0 does not change the trunk.
    batch_size : int
        Number of labelled samples in a training step.
    learning_rate : float
        Initial step size of the linear model.
    trunk_learning_rate : float
        Initial step size of the trunk; 0 does not change it.
    learning_rate_decay : {"cosine"} or None
        "cosine" lowers both learning rates to 0 along half a cosine over ``max_epochs``. None keeps them constant.
    class_weight : dict, "balanced" or None
        Weights of the classes.
    unlabeled_value : label or None
        The value in y of samples without a label. With None, all samples are labelled, and -1 is a class.
    warm_start : bool
        Whether `fit` continues to fine-tune the previous model, for the same classes. The clusterer is not fitted
        again.
    checkpoint : str, path or None
        A file that `fit` writes after each epoch of fine-tuning. If the fit is interrupted, the same call resumes from
        this file and gives the same model. The file is removed when the fit is finished. The clusterer is fitted again
        first, so set its ``random_state`` and its own ``checkpoint``, or freeze it.
    callbacks : list of skorch callbacks or None
        Callbacks of the fine-tuning, which can monitor ``train_loss``. Unsupported callbacks raise an error. To set
        callbacks of scikit-learn, use ``set_callbacks``.
    random_state : int, RandomState or None
        Seed of the order of samples and of the views.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted classes, without ``unlabeled_value``.
    clusterer_ : IICClusterer
        The fitted clusterer, which fine-tuning does not change.
    coef_ : ndarray of shape (1, n_features_out) or (n_classes, n_features_out)
        Weights of the linear model on the output of `transform`.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Offsets of the linear model.
    history_ : list of dict
        Number, mean loss and seconds of each epoch of fine-tuning.
    validation_scores_ : list of float or None
        Accuracy on the held-out samples, without transformations, after each epoch of fine-tuning, with
        ``early_stopping``.

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

    With a clusterer that is already fitted:

    >>> from sklearn.frozen import FrozenEstimator
    >>> fitted = FrozenEstimator(model.clusterer_)
    >>> IICClassifier(fitted, random_state=0).fit(X[:20], y[:20]).predict(X[:5]).tolist()
    [0, 1, 2, 3, 4]
    """

    _reader = OfClustererReader()
    clusterer: IICClusterer | FrozenEstimator
    _: KW_ONLY
    transforms: Literal["clusterer"] | Callable | None = "clusterer"
    n_views: Annotated[int, integers(1, 10000)] = 1
    passthrough: bool = True
    weight_decay: NonNegative = 1e-4
    max_epochs: CountOrZero = 50
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    trunk_learning_rate: NonNegative = 3e-4
    class_weight: dict | Literal["balanced"] | None = None
    unlabeled_value: Any = -1

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Fit the clusterer to all samples, and fine-tune its trunk with the labelled samples.

        With a frozen clusterer, or if an earlier fit continues, only the labelled samples are read.

        Parameters
        ----------
        y : array-like of shape (n,)
            Labels; unlabelled samples have ``unlabeled_value``. As in `sklearn.semi_supervised`, an array of strings
            and -1 must have the dtype object, because numpy would convert -1 to a string otherwise.
        **params : dict
            Metadata for the clusterer's ``fit``, if metadata routing is enabled and the clusterer requests them.

        Raises
        ------
        ValueError
            If no sample is labelled, if all labels are equal, if the clusterer rejects X, if ``early_stopping`` has too
            few samples to hold out, or if ``warm_start=True`` but the previous fit had other classes.
        NotFittedError
            If the clusterer is frozen but not fitted.
        """
        raise_for_params(params, self, "fit")
        return self._fine_tune(X, y, params)

    @with_callbacks
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Fine-tune the trunk by one pass over the labelled samples in a part of the data.

        The first call fits the clusterer to all samples of the part, unless it is frozen. Each part needs at least one
        labelled sample.

        Parameters
        ----------
        classes : array-like, default=None
            All classes, without ``unlabeled_value``. Required in the first call, unless y contains all of them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If no sample is labelled, if the clusterer rejects X, if a label is not in ``classes``, or for
            ``class_weight="balanced"``.
        """
        self._check_partial_fit()
        if classes is not None and self.unlabeled_value in np.asarray(classes).tolist():
            raise ValueError(
                f"classes contains unlabeled_value={self.unlabeled_value!r}. Remove it, or set another unlabeled_value"
            )
        return self._fine_tune(X, y, {}, partial=True, classes=classes)

    def _fine_tune(self, X, y, params, *, partial=False, classes=None):
        X = self._reader.accepted(type(self).__name__, X)
        frozen = isinstance(self.clusterer, FrozenEstimator)
        inner = self.clusterer.estimator if frozen else self.clusterer
        if not isinstance(inner, IICClusterer):
            raise ValueError(f"clusterer must be an IICClusterer, frozen or not, got a frozen {type(inner).__name__}")
        if inner.pairs == "explicit" and not frozen:
            raise ValueError(
                'a clusterer with pairs="explicit" is fitted to pairs, which have no classes. Fit it first, and pass '
                "FrozenEstimator(clusterer)"
            )
        labels, labelled = self._check_labels(y)
        check_consistent_length(X, labelled)
        continues = hasattr(self, "_state") if partial else self._continues_fit()
        if partial and continues:
            if classes is not None:
                check_same_classes(classes, self.classes_, type(self).__name__)
            classes = self.classes_
        elif classes is None and len(set(labels.tolist())) == 1:
            hint = "" if labelled.all() else f". Rows with unlabeled_value={self.unlabeled_value!r} count as unlabelled"
            raise ValueError(
                f"{type(self).__name__} needs labels of at least 2 classes, but all labels are of one class, "
                f"{labels.tolist()[0]!r}{hint}"
            )
        targets = prepare_targets(
            labels,
            None,
            self.class_weight,
            loss="log_loss",
            task=None if classes is None else task_of_classes(classes, "log_loss"),
            n_samples=len(labels),
            dtype=torch.float64,
            name=type(self).__name__,
            partial=partial,
        )
        self._check_hold_out(targets)
        if not continues:
            routed = process_routing(self, "fit", **params)
            self.clusterer_ = clone(self.clusterer).fit(X, None, **routed.clusterer.fit)
        # the clusterer has read all samples, so only those with a label are read again
        try:
            self._train(some_samples(X, np.flatnonzero(labelled)), labels, partial=partial, targets=targets)
        except ValueError as error:
            if not labelled.all():
                error.add_note("Positions and numbers of samples count the labelled samples of X only.")
            raise
        return self

    def _data(self, given, y, generator, *, reset, targets):
        task = targets.task
        if not reset and task.classes.tolist() != self.classes_.tolist():
            raise ValueError(
                f"{type(self).__name__} cannot continue with the classes {task.classes.tolist()}, because it was "
                f"fitted with {self.classes_.tolist()}. Set warm_start=False, or fit a clone"
            )
        return LabelledSamples(samples_of(given), targets, generator.initial_seed())

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
        if self.passthrough and batch.samples.ndim == 2:
            network.eval().append_rows(batch.samples)
        features = mean_features(network.eval(), batch.samples, same, 1, data.seed)
        network.trunk.draw_from(generator)
        network.head = LinearLoss.start(
            features, batch.weight, data.targets.task.n_outputs, "log_loss", self.weight_decay
        )
        minimize_loss(network.head, features, batch.target, batch.weight, max_iter=200, exact=False)
        return network

    def _restored(self, data, generator):
        is_known = data.samples.ndim == 2 and "row_gain" in self._state  # not in models of earlier versions
        if is_known and self.passthrough == (self._state["row_gain"] is None):
            raise ValueError(
                f"passthrough={self.passthrough} differs from {not self.passthrough} in the previous fit. Set it back, "
                "set warm_start=False, or fit a clone"
            )
        network = self._network(data.batch.samples)
        network.trunk.draw_from(generator)
        return network

    def _batches(self, data, generator):
        views = self._views(data.batch.samples)
        return LabelledBatches(data.batch, views, batch_size=self.batch_size, generator=generator)

    def _batches_to_score(self, network, held_out):
        rows = torch.arange(len(held_out.samples), device=held_out.samples.device)
        return [held_out.batch.take(part) for part in rows.split(at_once(held_out.samples))]

    def _learning_rates(self):
        return {"trunk.*": self.trunk_learning_rate}

    def _export(self, network, data):
        return network.export() | {"classes": data.targets.task.classes, "seed": data.seed}

    def get_metadata_routing(self) -> MetadataRouter:
        """Get the metadata routing: metadata passed to ``fit`` is routed to the clusterer's ``fit``.

        Returns
        -------
        MetadataRouter
        """
        return (
            MetadataRouter(owner=self)
            .add_self_request(self)
            .add(clusterer=self.clusterer, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = copy.deepcopy(get_tags(self.clusterer).input_tags)
        return tags
