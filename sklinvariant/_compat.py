"""Every private or experimental name of scikit-learn, and every difference between its versions, in one place.

Other modules import these names from here: ``from sklinvariant._compat import fit_context``.
"""

import contextlib
import functools

from sklearn import config_context, get_config
from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._array_api import get_namespace
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    RealNotInt,
    StrOptions,
    make_constraint,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.metadata_routing import _raise_for_params as raise_for_params
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

try:  # scikit-learn >= 1.9
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks yet: estimators then report through ``verbose`` alone."""

    def with_callbacks(method):
        """No callbacks, nothing to manage."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "FitReport",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "RealNotInt",
    "StrOptions",
    "array_namespace",
    "check_sample_weight",
    "dispatches_arrays",
    "fit_context",
    "get_namespace",
    "make_constraint",
    "metadata_requests",
    "output_container",
    "progress_bars",
    "raise_for_params",
    "reports_fit",
    "request_metadata",
    "safe_indexing",
    "validate_parameter_constraints",
    "validate_params",
    "with_callbacks",
]


class FitReport:
    """Reports the epochs of one fit to the estimator's scikit-learn callbacks; does nothing where there are none.

    The callback API is experimental: whatever changes in it has to be mended here and nowhere else.
    """

    def __init__(self, estimator, X, y, sample_weight, max_epochs):
        self._data = {"X": X, "y": y}
        if sample_weight is not None:
            self._data["metadata"] = {"sample_weight": sample_weight}
        self.estimator = estimator
        self._root = None
        if hasattr(estimator, "_init_callback_context"):
            self._root = estimator._init_callback_context(max_subtasks=max_epochs)
            self._root.call_on_fit_task_begin(estimator=estimator, **self._data)

    def begin_epoch(self):
        if self._root is not None:
            self._epoch = self._root.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(estimator=self.estimator, **self._data)

    def end_epoch(self, fitted_attributes):
        """Report an epoch; True asks to stop. ``fitted_attributes`` is called only if a callback wants a model."""
        if self._root is None:
            return False
        return self._epoch.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted_attributes, **self._data
        )

    def end(self, fitted_attributes):
        if self._root is not None:
            self._root.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=fitted_attributes, **self._data
            )


def reports_fit(fit):
    """A ``fit`` without epochs reports to scikit-learn's callbacks too: one task, as it begins and as it ends."""

    @functools.wraps(fit)
    def reporting(self, X, y=None):
        report = FitReport(self, X, y, None, max_epochs=0)
        fit(self, X, y)
        report.end(dict)  # the estimator is fitted as it is: no attribute has to be set
        return self

    return with_callbacks(reporting)


def dispatches_arrays():
    """Whether scikit-learn is configured to compute with the arrays of other libraries."""
    return get_config().get("array_api_dispatch")


def array_namespace(X):
    """The array-API namespace that scikit-learn would answer in, or None for plain numpy and anything else."""
    if not dispatches_arrays():
        return None
    with contextlib.suppress(AttributeError, TypeError):
        xp, is_array_api = get_namespace(X)
        return xp if is_array_api and "numpy" not in xp.__name__ else None
    return None


def output_container(estimator):
    """What ``set_output`` or the configuration asks of ``transform``: "default", "pandas" or "polars"."""
    return _get_output_config("transform", estimator)["dense"]


def metadata_requests(estimator):
    """What ``set_fit_request`` and its like have set: method -> {metadata: True, False or another name}."""
    routing = vars(estimator.get_metadata_routing())
    asked = {
        method: {name: alias for name, alias in request.requests.items() if alias is not None}
        for method, request in routing.items()
        if hasattr(request, "requests")
    }
    return {method: names for method, names in asked.items() if names}


def request_metadata(estimator, requests):
    """Set them again; TypeError or AttributeError where the estimator takes no such metadata."""
    with config_context(enable_metadata_routing=True):
        for method, names in requests.items():
            getattr(estimator, f"set_{method}_request")(**names)


def progress_bars():
    """scikit-learn's progress bar as a list of callbacks; empty where it, or rich, is missing."""
    try:
        import rich  # noqa: F401
        from sklearn.callback import ProgressBar
    except ImportError:
        return []
    return [ProgressBar(max_propagation_depth=None)]
