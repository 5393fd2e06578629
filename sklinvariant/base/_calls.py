"""Wrappers of public methods, which replace the user's torch settings during the call, check parameters that changed
after `fit`, compute Dask collections, and check results.
"""

import copy
import functools
from typing import Any

from sklinvariant._settings import with_own_settings
from sklinvariant.base._containers import in_memory
from sklinvariant.base._docstrings import Documented
from sklinvariant.base._finite import finite_outcome
from sklinvariant.base._parameters import check_read_later

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


def computing(method: Any) -> Any:
    """Wrap a public method that computes."""
    if hasattr(method, "fn"):  # scikit-learn's `available_if` holds the method in `fn`
        available = copy.copy(method)
        available.fn = computing(method.fn)
        return available
    checked = finite_outcome(method)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        check_read_later(self)
        return checked(self, *map(in_memory, args), **{name: in_memory(value) for name, value in kwargs.items()})

    return with_own_settings(call)


class Computing(Documented):
    """Base of estimators and their mixins, which wraps the computing public methods that a class defines."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        for name in COMPUTING & vars(cls).keys():
            setattr(cls, name, computing(vars(cls)[name]))
        super().__init_subclass__(**kwargs)  # last: scikit-learn wraps `transform` for data frames
