"""Wrappers of public methods, which replace the user's torch settings during the call, check that the estimator is
fitted, check parameters that changed after `fit` and the array namespace, answer Dask collections, and check results.
"""

import copy
import functools
import inspect
from collections.abc import Iterable
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sklinvariant._distributed import current_processes
from sklinvariant._docstrings import Documented
from sklinvariant._settings import with_own_settings
from sklinvariant.base._block_input import is_without_samples
from sklinvariant.base._finite import FITTING, finite_outcome
from sklinvariant.base._input import refuse_stream_in_both, refuse_stream_in_fit
from sklinvariant.base._interruption import restoring_on_failure
from sklinvariant.base._kinds import is_stream
from sklinvariant.base._lazy_answers import (
    BY_SAMPLE,
    are_delayed_blocks,
    blocks_of,
    first_sample,
    is_bag,
    is_lazy,
    lazy_answer,
    no_samples,
    of_block,
    whole,
)
from sklinvariant.base._parameters import check_read_later
from sklinvariant.base._shard_rows import fitting_together
from sklinvariant.ops import usual_chunks

# public methods that compute and are therefore wrapped
COMPUTING = {
    "activations",
    "decision_function",
    "embed",
    "estimate_recall",
    "feature_maps",
    "fit",
    "fit_moments",
    "fit_predict",
    "fit_transform",
    "gibbs",
    "inverse_transform",
    "kneighbors",
    "kneighbors_graph",
    "partial_fit",
    "predict",
    "predict_angle",
    "predict_log_proba",
    "predict_pose",
    "predict_proba",
    "radius_neighbors",
    "radius_neighbors_graph",
    "remove",
    "score",
    "score_samples",
    "transform",
}

FIT_AND_ANSWER = ("fit_transform", "fit_predict")


def computing(method: Any) -> Any:
    """Wrap a public method that computes."""
    if hasattr(method, "fn"):  # scikit-learn's `available_if` holds the method in `fn`
        available = copy.copy(method)
        available.fn = computing(method.fn)
        return available
    checked, name = finite_outcome(method), method.__name__
    reads = "X" in inspect.signature(method).parameters

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        processes = current_processes()
        if name in {"fit", "partial_fit"} and processes is not None and processes.shards:
            if self._fits_in_parts:
                with fitting_together(processes, self, name, args[0] if args else kwargs.get("X")):
                    return call(self, *args, **kwargs)
            if not self._fits_shards:
                raise ValueError(
                    f"{type(self).__name__} cannot be fitted inside of distributed(shards=True), where each process "
                    "has its own part of the data. Fit it to data of one process, outside of the context"
                )
        check_read_later(self)
        if name not in FITTING and not hasattr(self, "_state"):  # `check_is_fitted` takes as long as a search
            check_is_fitted(self)
        X = args[0] if args else kwargs.get("X")
        if is_stream(X):
            if name in FIT_AND_ANSWER:
                refuse_stream_in_both(self, X, name)
            if name == "fit" and not self._fits_streams:
                refuse_stream_in_fit(self, X)
        if name in BY_SAMPLE and is_lazy(X):
            answer = lazy_answer(self, name, *args, **kwargs)
            if answer is not None:
                return answer
        if name == "fit" and self._learns_nothing and is_lazy(X):
            X = first_sample(blocks_of(X))
        if not (name in {"fit", "fit_transform", "partial_fit"} and self._fits_in_parts and is_lazy(X)):
            others = [value for value in (*args, *kwargs.values()) if value is not None and value is not X]
            if name == "partial_fit" and is_lazy(X) and not others:
                return _fit_block_by_block(self, X)
            X = in_memory([X])[0]
        if reads and name not in FITTING and hasattr(self, "_check_namespace"):
            self._check_namespace(name, X)
        given = [X, *in_memory(args[1:])] if args else []
        named = {key: X if key == "X" else in_memory([value])[0] for key, value in kwargs.items()}
        with usual_chunks():
            return checked(self, *given, **named)

    return with_own_name(with_own_settings(call))


def with_own_name(method: Any) -> Any:
    """Wrap a method, so that a TypeError of wrong arguments names the estimator, not the base class that defines it."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except TypeError:
            try:
                signature.bind(self, *args, **kwargs)
            except TypeError as error:
                names = ", ".join(list(signature.parameters)[1:])
                raise TypeError(f"{type(self).__name__}.{method.__name__}() {error}. It takes {names}") from None
            raise

    return call


def _fit_block_by_block(estimator, X):
    """Call ``partial_fit`` with each block of a Dask collection, of which one is in memory at a time."""
    blocks, is_empty = blocks_of(X), True
    with restoring_on_failure(estimator):
        for i, block in enumerate(blocks):
            samples = block.compute()
            if not is_without_samples(samples):
                is_empty = False
                try:
                    estimator.partial_fit(samples)
                except (TypeError, ValueError) as error:
                    raise of_block(i, error) from error
    if is_empty:
        raise no_samples(blocks)
    return estimator


def needing_samples_twice(method: Any) -> Any:
    """Wrap scikit-learn's ``fit_transform`` or ``fit_predict``, which would fit a stream and then find it empty."""

    @functools.wraps(method)
    def call(self, X, *args, **kwargs):
        if is_stream(X):
            refuse_stream_in_both(self, X, method.__name__)
        return method(self, X, *args, **kwargs)

    return with_own_name(call)


def in_memory(values: Iterable[Any]) -> list[Any]:
    """Compute the Dask collections among values and in lists of them; leave other values unchanged."""
    computed = []
    for value in values:
        if is_bag(value) or are_delayed_blocks(value):
            value = whole(blocks_of(value))  # by threads, also a bag, for which Dask would start processes
        elif hasattr(value, "__dask_graph__"):
            value = value.compute() if value.__dask_graph__() is not None else value
        elif isinstance(value, (list, tuple)) and len(value) and hasattr(value[0], "__dask_graph__"):
            value = type(value)(in_memory(value))
        computed.append(value)
    return computed


class Computing(Documented):
    """Base of estimators and their mixins, which wraps the computing public methods that a class defines."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in COMPUTING & vars(cls).keys():
            setattr(cls, name, computing(vars(cls)[name]))
        super().__init_subclass__(**kwargs)  # called after it, because scikit-learn wraps `transform` for data frames
        for name in FIT_AND_ANSWER:
            owner = next((base for base in cls.__mro__ if name in vars(base)), None)
            if owner is not None and owner.__module__.startswith("sklearn."):
                setattr(cls, name, needing_samples_twice(vars(owner)[name]))
