"""What surrounds every call of a public method: the user's torch settings are set aside, parameters
that were changed after `fit` are checked, Dask collections are computed, and results are checked.
"""

import copy
import functools

from sklinvariant._settings import with_own_settings
from sklinvariant.base._containers import in_memory
from sklinvariant.base._finite import finite_outcome
from sklinvariant.base._parameters import check_read_later

# the public methods that compute
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


def computing(method):
    """Wrap a public method that computes."""
    if hasattr(method, "fn"):  # scikit-learn's `available_if`: the method is inside
        available = copy.copy(method)
        available.fn = computing(method.fn)
        return available
    checked = finite_outcome(method)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        check_read_later(self)
        return checked(self, *map(in_memory, args), **{name: in_memory(value) for name, value in kwargs.items()})

    return with_own_settings(call)


class Computing:
    """Base of estimators and of mixins with methods for them: wraps the public methods that a class defines."""

    def __init_subclass__(cls, **kwargs):
        for name in COMPUTING & vars(cls).keys():
            setattr(cls, name, computing(vars(cls)[name]))
        super().__init_subclass__(**kwargs)  # after: scikit-learn wraps what `transform` gives in a data frame
