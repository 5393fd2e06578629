"""Which numbers a parameter takes, said once for all estimators, and how a parameter is read."""

import functools
import math
from inspect import Parameter, signature
from numbers import Integral, Real

import numpy as np
import torch
from joblib import cpu_count, effective_n_jobs
from sklearn.utils._param_validation import Interval, RealNotInt

LARGEST = 2**31 - 1  # faiss, OpenCV and OpenMP count in 32 bits


class Number(Interval):
    """scikit-learn's interval of numbers, without booleans and without integers that no float can hold.

    Python counts True among the integers, but ``max_epochs=True`` is a mistake more often than it means one epoch.
    """

    def is_satisfied_by(self, val):
        if not is_number(val) or not super().is_satisfied_by(plain(val)):
            return False
        if self.type is Integral:
            return True
        try:
            float(val)
        except OverflowError:  # a huge integer
            return False
        return self.closed == "both" or math.isfinite(float(val))


class Numbers(Number):
    """A number, or an array of numbers, all of them finite."""

    def is_satisfied_by(self, val):
        if isinstance(val, torch.Tensor):
            return val.numel() > 0 and not val.is_complex() and bool(torch.isfinite(val).all())
        try:
            values = np.asarray(val)
            return values.dtype.kind in "iuf" and values.size > 0 and bool(np.isfinite(values).all())
        except (ValueError, TypeError):  # rows of several lengths, objects
            return False

    def __str__(self):
        return "a finite number or an array of finite numbers"


def integers(low, high=LARGEST):
    """The integers from ``low`` to ``high``, both included."""
    return Number(Integral, low, high, closed="both")


COUNT = integers(1)
COUNT_OR_ZERO = integers(0)
SIDE = integers(1, 2**15 - 1)  # of an image in pixels; OpenCV counts them in 16 bits
# negative numbers count back from all cores, as in joblib: -1 is all of them
N_JOBS = [Number(Integral, -LARGEST, -1, closed="both"), COUNT, None]
FINITE = Number(Real, None, None, closed="neither")
FINITE_ARRAY = Numbers(Real, None, None, closed="neither")
NON_NEGATIVE = Number(Real, 0, None, closed="left")
POSITIVE = Number(Real, 0, None, closed="neither")
SHARE = Number(Real, 0, 1, closed="both")
SHARE_BELOW_ONE = Number(Real, 0, 1, closed="left")
SHARE_INSIDE = Number(Real, 0, 1, closed="neither")
SHARE_OF_ALL = Number(RealNotInt, 0, 1, closed="right")


def is_number(value):
    """Whether this is one number of Python or numpy, and not a boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_count(value, low=1):
    """Whether an argument is an integer, not a boolean, of at least ``low``."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= value <= LARGEST


def n_threads(n_jobs):
    """How many threads ``n_jobs`` means, at most one a core: more are slower, and some libraries end the process."""
    if n_jobs is not None and not is_count(abs(n_jobs) if is_number(n_jobs) else n_jobs):
        raise ValueError(f"n_jobs must be None or an integer other than 0, got {n_jobs!r}")
    return min(effective_n_jobs(n_jobs), _n_cores())


@functools.cache
def _n_cores():
    return cpu_count()  # which reads files


def check_size(n_numbers, **parameters):
    """Refuse parameters that ask for an array of more numbers than memory holds, before one is allocated."""
    if n_numbers > LARGEST:
        given = " and ".join(f"{name}={value!r}" for name, value in parameters.items())
        raise ValueError(
            f"{given} would take an array of {n_numbers:,} numbers; at most {LARGEST:,} are accepted. "
            f"Lower {' or '.join(parameters)}."
        )


def plain(value):
    """numpy's numbers, also inside tuples and lists, as those of Python; anything else as it is."""
    if isinstance(value, (np.number, np.bool_)):
        return float(value) if isinstance(value, np.longdouble) else value.item()
    if type(value) in (tuple, list):
        items = [plain(item) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return type(value)(items)
    return value


class PlainParameter:
    """A parameter of an estimator: kept as it was given, read as a plain number of Python.

    np.arange in a grid of parameters gives np.int64, which faiss refuses; np.uint8 overflows, np.float32 rounds.
    `get_params` still gives what was set, as scikit-learn asks.
    """

    def __init__(self, name):
        self.name = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        try:
            return plain(instance.__dict__[self.name])
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}") from None

    def __set__(self, instance, value):
        instance.__dict__[self.name] = value

    def __delete__(self, instance):
        try:
            del instance.__dict__[self.name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}") from None


class PlainParameters:
    """Mixin of estimators whose parameters are each a `PlainParameter`; it stands before scikit-learn's base."""

    def __init_subclass__(cls, **kwargs):
        for name, parameter in signature(cls.__init__).parameters.items():
            named = parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
            if named and name != "self" and not hasattr(cls, name):
                setattr(cls, name, PlainParameter(name))
        super().__init_subclass__(**kwargs)

    def get_params(self, deep=True):
        """Get the parameters, as they were given.

        Parameters
        ----------
        deep : bool, default=True
            Also those of estimators that are parameters.

        Returns
        -------
        dict
            Values by name.
        """
        params = super().get_params(deep)
        return {name: self.__dict__.get(name, value) for name, value in params.items()}
