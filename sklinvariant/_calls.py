"""What surrounds every call of a public method: the user's torch settings are set aside, results are checked."""

import functools

from sklinvariant._containers import in_memory

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

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        args = [in_memory(value) for value in args]
        kwargs = {name: in_memory(value) for name, value in kwargs.items()}
        return method(self, *args, **kwargs)

    return call
