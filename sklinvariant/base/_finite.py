"""Finite input must give finite results: the result of each call of a public method is checked once."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any, cast

import numpy as np
import torch
from scipy.sparse import issparse

from sklinvariant._settings import P, R
from sklinvariant.base._interruption import restoring_on_failure
from sklinvariant.base._kinds import is_bags
from sklinvariant.base._parameters import is_number, plain
from sklinvariant.ops import in_smaller_chunks, largest_value

FITTING = {"fit", "fit_moments", "fit_predict", "fit_transform", "partial_fit"}
CHANGING = {*FITTING, "remove"}  # methods that change the estimator, which a failure restores
# whole-number parameters that take no memory, or less of it if they are raised
_WITHOUT_MEMORY = {
    *("average", "cd_steps", "max_epochs", "max_iter", "min_matches", "moments", "n_iter_no_change", "n_jobs"),
    *("normalization", "pool", "random_state", "step", "stride", "tol", "unlabeled_value", "verbose"),
}


def finite_outcome(method: Callable[P, R]) -> Callable[P, R]:
    """Wrap a public method so that its result and the fitted state are finite. A failed fit restores the estimator.

    Without enough memory on a GPU, a method that does not change the estimator is called again with smaller chunks.
    """
    name = method.__name__
    guarded = restoring_on_failure if name in CHANGING else contextlib.nullcontext

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        try:
            with guarded(self):
                call_once = functools.partial(method, self, *args, **kwargs)
                result = call_once() if name in CHANGING else in_smaller_chunks(call_once)
                check_finite_outcome(self, name, result)
        except FloatingPointError as error:
            changed = _changed(self, float)
            if not changed or changed in str(error):
                raise
            raise FloatingPointError(f"{error} (parameters other than the defaults: {changed})") from error
        except (RuntimeError, OverflowError, MemoryError) as error:
            _raise_clear_error(self, name, error)
            raise
        return result

    return cast(Callable[P, R], call)


def _raise_clear_error(estimator, method_name, error):
    """Replace errors of torch, which do not name the parameters that caused them."""
    text = str(error)
    if " ran out of memory (" in text:  # from fit, which fit_predict has called
        return
    if (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "DefaultCPUAllocator" in text
        or "Storage size" in text
    ):
        advice = _to_save_memory(estimator, method_name)
        raise MemoryError(f"{type(estimator).__name__}.{method_name} ran out of memory ({text}). {advice}.") from error
    if "without overflow" in text or "too large" in text:  # a parameter that float32 cannot represent
        raise FloatingPointError(_explain(estimator, f"{method_name} cannot compute ({text})")) from error


def _to_save_memory(estimator, method_name):
    if method_name not in CHANGING:
        return "Pass fewer samples at a time"
    changed = _changed(estimator, int, except_for=_WITHOUT_MEMORY)
    ways = [f"lower {changed}"] if changed else []
    if method_name == "fit" and hasattr(estimator, "partial_fit"):
        ways.append("pass blocks to partial_fit")
        if estimator._fits_streams:
            ways.append("an iterable of blocks to fit")
    advice = ", or ".join(ways) or "use fewer samples or smaller parameters"
    return advice[0].upper() + advice[1:]


def check_finite_outcome(estimator: Any, method_name: str, result: Any) -> None:
    """Raise a FloatingPointError if the result or the fitted state of a method contains NaN or infinity.

    -inf is accepted from `predict_log_proba`, as log 0. NaN is accepted with ``on_error="nan"``, for unreadable files.
    """
    if method_name in FITTING:
        place = _first_not_finite(getattr(estimator, "_state", None), "")
        if place is not None:
            what = f"{method_name} learned NaN or infinity ({place.strip('.')})"
            raise FloatingPointError(_explain(estimator, what))
    if result is not estimator and getattr(estimator, "on_error", None) != "nan":
        check_finite_answer(estimator, method_name, result)


def check_finite_answer(estimator: Any, method_name: str, answer: Any) -> None:
    """Raise a FloatingPointError if a result contains NaN or infinity."""
    if _first_not_finite(answer, "", method_name == "predict_log_proba") is not None:
        raise FloatingPointError(_explain(estimator, f"{method_name} returned NaN or infinity"))


def _explain(estimator, what):
    changed = _changed(estimator, float)
    advice = f"Bring {changed} closer to the default" if changed else "Lower the learning rate if there is one"
    return (
        f"{type(estimator).__name__}.{what} from finite input: values left the range of float32, or of X's dtype. "
        f"{advice}, or scale X, for example with StandardScaler."
    )


def _first_not_finite(values, place, allow_minus_infinity=False):
    """The path of the first NaN or infinity in nested dicts and tuples; None if everything is finite."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, (list, tuple)):
        if values and isinstance(values[0], str):
            return None
        items = enumerate(values)
    else:
        return None if _is_finite(values, allow_minus_infinity) else place
    for key, value in items:
        found = _first_not_finite(value, f"{place}.{key}", allow_minus_infinity)
        if found is not None:
            return found
    return None


def _is_finite(values, allow_minus_infinity=False):
    if isinstance(values, float):
        return math.isfinite(values)
    if isinstance(values, np.ndarray):
        # a memory-mapped array is not the result of a computation and may be larger than memory
        if values.dtype.kind not in "fc" or isinstance(values, np.memmap) or isinstance(values.base, np.memmap):
            return True
        with np.errstate(all="ignore"):
            if np.isfinite(values.sum()):  # one pass without a copy; rarely, finite numbers have an infinite sum
                return True
        if allow_minus_infinity:
            return not (np.isnan(values).any() or (values == np.inf).any())
        if _is_mask(values):
            return True
        return bool(np.isfinite(values).all())
    if isinstance(values, torch.Tensor):
        if not (values.is_floating_point() or values.is_complex()):
            return True
        values = values.detach()
        if torch.isfinite(values.sum()):
            return True
        if allow_minus_infinity:
            return not (torch.isnan(values).any() or (values == torch.inf).any())
        return bool(torch.isfinite(values).all())
    if is_bags(values):
        return _is_finite(values.values)
    if issparse(values):
        return _is_finite(values.data)
    if hasattr(values, "__array_namespace__"):
        return _is_finite_elsewhere(values, allow_minus_infinity)
    return True


def _is_mask(values):
    """Whether this is an attention mask of 0 and -inf, which user-defined networks hold as a buffer."""
    masked = np.isneginf(values)
    return bool(masked.any() and not masked.all() and (values[~masked] == 0).all())


def _is_finite_elsewhere(values, allow_minus_infinity):
    """The same check with functions of the array-API standard only."""
    xp = values.__array_namespace__()
    if not xp.isdtype(values.dtype, ("real floating", "complex floating")):
        return True
    bad = xp.isnan(values) | (values == xp.inf) if allow_minus_infinity else ~xp.isfinite(values)
    return not bool(xp.any(bad))


def _changed(estimator, kind, except_for=()):
    """Describe the parameters of a numeric type, or sequences of it, that differ from their defaults."""
    changed = []
    for name, parameter in signature(type(estimator).__init__).parameters.items():
        value = plain(estimator.__dict__.get(name))
        values = value if isinstance(value, (tuple, list)) else [value]
        is_kind = all(map(is_number, values)) and any(isinstance(v, kind) for v in [*values, parameter.default])
        if is_kind and value != parameter.default and name not in except_for:
            changed.append(f"{name}={value!r}")
    return ", ".join(changed)


def check_computed(estimator: Any, values: torch.Tensor) -> torch.Tensor:
    """Raise a FloatingPointError if scores are not finite, because decisions derived from them would hide it."""
    if not math.isfinite(largest_value(values)):
        raise FloatingPointError(
            f"{type(estimator).__name__} computed NaN or infinity from X, whose values are too far from those seen in "
            f"fit for {str(values.dtype).removeprefix('torch.')}. Scale X as in fit, or pass float64."
        )
    return values
