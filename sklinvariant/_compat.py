"""All private and experimental names of scikit-learn, and all differences between its versions.

Other modules import these names from here: ``from sklinvariant._compat import fit_context``.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from sklearn import config_context, get_config
from sklearn.base import _fit_context as fit_context
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel  # noqa: F401
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._array_api import get_namespace
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
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
        """Replacement for versions of scikit-learn without callbacks, where only ``verbose`` reports progress."""

    def with_callbacks(method):
        """Return the method unchanged."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "FitReport",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "Options",
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
    """Reports the epochs of one fit to scikit-learn's callbacks. Does nothing if there are none.

    The callback API is experimental. Changes of it only have to be handled here.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, max_epochs: int) -> None:
        self._data = {"X": X, "y": y}
        if sample_weight is not None:
            self._data["metadata"] = {"sample_weight": sample_weight}
        self.estimator = estimator
        self._root = None
        if hasattr(estimator, "_init_callback_context"):
            self._root = estimator._init_callback_context(max_subtasks=max_epochs)
            self._root.call_on_fit_task_begin(estimator=estimator, **self._data)

    def begin_epoch(self) -> None:
        if self._root is not None:
            self._epoch = self._root.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(estimator=self.estimator, **self._data)

    def end_epoch(self, fitted_attributes: Callable[[], dict[str, Any]]) -> bool:
        """Report an epoch. True means stop. ``fitted_attributes`` is called only if a callback needs the model."""
        if self._root is None:
            return False
        return self._epoch.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted_attributes, **self._data
        )

    def end(self, fitted_attributes: Callable[[], dict[str, Any]]) -> None:
        if self._root is not None:
            self._root.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=fitted_attributes, **self._data
            )


def reports_fit(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a ``fit`` without epochs, so that it reports its begin and its end to scikit-learn's callbacks."""

    @functools.wraps(fit)
    def reporting(self, X, y=None):
        report = FitReport(self, X, y, None, max_epochs=0)
        fit(self, X, y)
        report.end(dict)  # the fitted attributes are already set
        return self

    return with_callbacks(reporting)


def dispatches_arrays() -> bool:
    """Whether scikit-learn is configured to compute with the arrays of other libraries."""
    return bool(get_config().get("array_api_dispatch"))


def array_namespace(X: Any) -> Any:
    """The array-API namespace in which scikit-learn would return results; None for numpy and other input."""
    if not dispatches_arrays():
        return None
    with contextlib.suppress(AttributeError, TypeError):
        xp, is_array_api = get_namespace(X)
        return xp if is_array_api and "numpy" not in xp.__name__ else None
    return None


def output_container(estimator: Any) -> str:
    """The output of ``transform`` set by ``set_output`` or the configuration: "default", "pandas" or "polars"."""
    return _get_output_config("transform", estimator)["dense"]


def metadata_requests(estimator: Any) -> dict[str, dict[str, Any]]:
    """The requests set by ``set_fit_request`` and similar methods: method -> {metadata: True, False or an alias}."""
    routing = vars(estimator.get_metadata_routing())
    asked = {
        method: {name: alias for name, alias in request.requests.items() if alias is not None}
        for method, request in routing.items()
        if hasattr(request, "requests")
    }
    return {method: names for method, names in asked.items() if names}


def request_metadata(estimator: Any, requests: dict[str, dict[str, Any]]) -> None:
    """Set metadata requests. Raises a TypeError or AttributeError if the estimator does not support them."""
    with config_context(enable_metadata_routing=True):
        for method, names in requests.items():
            getattr(estimator, f"set_{method}_request")(**names)


def progress_bars() -> list[Any]:
    """scikit-learn's progress bar as a list of callbacks; empty if it or rich is not installed."""
    try:
        import rich  # noqa: F401
        from sklearn.callback import ProgressBar
    except ImportError:
        return []
    return [ProgressBar(max_propagation_depth=None)]
