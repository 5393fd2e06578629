"""Unusual and extreme values of parameters give a finite result, or an error that names the parameter.

SKLINVARIANT_FUZZ=20 tries twenty times as many.
"""

import os
import signal
import warnings

import numpy as np
import pytest
from examples import ESTIMATORS, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = round(8 * float(os.environ.get("SKLINVARIANT_FUZZ", "1")))
SECONDS = 60  # for what takes milliseconds, on a busy machine
ANSWERS = ("transform", "predict", "kneighbors")

NUMBERS = [0, -1, 1, 7, 0.5, 10**12, 10**30, 10**400, -(2**63), 1e-300, 1e-30, 1e30, 1e300, -1e300]
NUMBERS += [np.int64(3), np.uint8(2), np.int32(-1), np.float32(0.25), np.float64(1e-8), np.longdouble(2)]
HUGE = [1000, 2**31 - 1, 2**31, 10**6]
NO_NUMBERS = [True, False, np.True_, np.nan, np.inf, -np.inf, None, "x", "", b"x", 1j, object(), int, len]
SEQUENCES = [[], (), {}, {"a": 1}, [1, 2], (0, 0), (-1, 3), (1.5, "a"), [[1, 2], [3]], (2**31 - 1, 2**31 - 1)]
SEQUENCES += [(True, 2), [np.nan], [1e300], np.array([1.0, 2.0]), np.array([[np.inf]]), np.array("x")]
SEQUENCES += [(np.int64(2), np.int64(3))]
# that many steps take as long as they take
STEPS = {"max_epochs", "max_iter", "cd_steps", "depth", "n_heads", "n_repeats", "n_views", "n_patches", "width"}
# of no interest to this suite, or files
LEFT_ALONE = {"verbose", "callbacks", "checkpoint", "weights", "device"}
# what an error may say instead of the parameter's name
WORDS = {
    "image_size": ("images of shape", "image_shape"),
    "n_patches": ("n_samples",),  # scikit-learn's, of the extractor that gets them
    "subsample": ("n_codewords", "n_samples", "n_components"),
    "clusterer": ("module",),
}


class TooSlow(BaseException):
    """Not a subclass of Exception, so that no handler catches it."""


def stop(*_):
    raise TooSlow


@st.composite
def changes(draw, name):
    params = sorted(set(example(name)[0].get_params(deep=False)) - LEFT_ALONE)
    some = draw(st.lists(st.sampled_from(params), min_size=1, max_size=2, unique=True))
    values = [*NUMBERS, *NO_NUMBERS, *SEQUENCES]
    return {param: draw(st.sampled_from(values if param in STEPS else [*values, *HUGE])) for param in some}


def is_finite(part):
    values = part.values if hasattr(part, "offsets") else np.asarray(part)
    return values.dtype.kind != "f" or np.isfinite(values).all()


def verdict(name, params):
    """None, or a description of the wrong outcome of these parameters."""
    estimator, X, y = example(name)
    try:
        estimator.set_params(**params).fit(X, y)
        method = next(answer for answer in ANSWERS if hasattr(estimator, answer))
        result = getattr(estimator, method)(X)
    except TooSlow:
        return f"took more than {SECONDS} s"
    except (ValueError, TypeError, FloatingPointError, MemoryError, ImportError) as error:
        known = any(word in str(error) for param in params for word in (param, *WORDS.get(param, ())))
        return None if known else f"{type(error).__name__} names none of them: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for part in result if isinstance(result, tuple) else (result,):
        if len(part) != len(X):
            return f"{len(part)} answers for {len(X)} samples"
        if not is_finite(part):
            return "the answer is not finite"
    return None


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_odd_parameters(name):
    before = signal.signal(signal.SIGALRM, stop)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(params=changes(name))
    def check(params):
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrong = verdict(name, params)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert wrong is None, f"{name} with {params}: {wrong}"

    try:
        check()
    finally:
        signal.signal(signal.SIGALRM, before)
