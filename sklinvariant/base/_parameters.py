"""Declaration of the parameters of estimators as annotated dataclass fields.

The annotation is both the type for readers and type checkers and the constraint that scikit-learn checks in `fit`. The
signature, ``get_params`` and ``repr`` are derived from the fields, and the defaults in the docstring from the
signature.
"""

import dataclasses
import functools
import math
import sys
import types
import typing
from collections.abc import Callable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_args, get_origin

import numpy as np
import torch
from joblib import cpu_count, effective_n_jobs

from sklinvariant._compat import (
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    make_constraint,
    validate_parameter_constraints,
    validate_params,
)
from sklinvariant._docstrings import Documented, document_parameters
from sklinvariant._settings import P, R

C = TypeVar("C")

LARGEST = 2**31 - 1  # faiss, OpenCV and OpenMP use 32-bit integers
LARGEST_SIDE = 2**15 - 1  # side of an image in pixels; OpenCV uses 16-bit coordinates


class Number(Interval):
    """scikit-learn's interval of numbers, without booleans and without integers beyond the range of float.

    True is an integer in Python, but ``max_epochs=True`` is more likely a mistake than a request for one epoch.
    """

    def is_satisfied_by(self, val: Any) -> bool:
        if not is_number(val) or not super().is_satisfied_by(plain(val)):
            return False
        if self.type is Integral:
            return True
        try:
            float(val)
        except OverflowError:  # a huge integer
            return False
        return self.closed == "both" or math.isfinite(float(val))

    def __repr__(self) -> str:
        return f"<{self}>"  # without an address, because signatures show it


class Numbers(Number):
    """A finite number, or an array of finite numbers."""

    def is_satisfied_by(self, val: Any) -> bool:
        if isinstance(val, torch.Tensor):
            return val.numel() > 0 and not val.is_complex() and bool(torch.isfinite(val).all())
        try:
            values = np.asarray(val)
            return values.dtype.kind in "iuf" and values.size > 0 and bool(np.isfinite(values).all())
        except (ValueError, TypeError):  # rows of several lengths, objects
            return False

    def __str__(self) -> str:
        return "a finite number or an array of finite numbers"


class Instances(Options):
    """Instances of a class, which messages call by the name that users import it by."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind, set())

    def is_satisfied_by(self, val: Any) -> bool:
        return isinstance(val, self.type)

    def __str__(self) -> str:
        return f"an instance of {public_name(self.type)!r}"


def public_name(kind: type) -> str:
    """The name of a class in the outermost package that has it, such as "torch.nn.Module"."""
    parts, name = kind.__module__.split("."), kind.__qualname__
    if parts == ["builtins"]:
        return name
    packages = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return f"{next((p for p in packages if getattr(sys.modules.get(p), name, None) is kind), packages[-1])}.{name}"


def integers(low: int, high: int = LARGEST) -> Number:
    """The integers from ``low`` to ``high``, both included."""
    return Number(Integral, low, high, closed="both")


Count = Annotated[int, integers(1)]
CountOrZero = Annotated[int, integers(0)]
Side = Annotated[int, integers(1, LARGEST_SIDE)]  # of an image in pixels
Finite = Annotated[float, Number(Real, None, None, closed="neither")]
FiniteArray = Annotated[Any, Numbers(Real, None, None, closed="neither")]
NonNegative = Annotated[float, Number(Real, 0, None, closed="left")]
Positive = Annotated[float, Number(Real, 0, None, closed="neither")]
Share = Annotated[float, Number(Real, 0, 1, closed="both")]
ShareBelowOne = Annotated[float, Number(Real, 0, 1, closed="left")]
ShareInside = Annotated[float, Number(Real, 0, 1, closed="neither")]
ShareOfAll = Annotated[float, Number(RealNotInt, 0, 1, closed="right")]
# negative numbers count back from the number of cores, as in joblib: -1 means all cores
NJobs = Annotated[int, integers(-LARGEST, -1)] | Count | None
Verbose = Annotated[int, "verbose"]
RandomState = Annotated[int, integers(0, 2**32 - 1)] | np.random.RandomState | None
Device = str | torch.device


def is_number(value: Any) -> bool:
    """Whether this is a single Python or numpy number, but not a boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_count(value: Any, low: int = 1) -> bool:
    """Whether this is an integer of at least ``low``, but not a boolean."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and low <= int(value) <= LARGEST


def n_threads(n_jobs: int | None) -> int:
    """Number of threads for ``n_jobs``, at most one per core: more are slower and make some libraries crash."""
    if n_jobs is not None and not is_count(abs(n_jobs) if is_number(n_jobs) else n_jobs):
        raise ValueError(f"n_jobs must be None or a nonzero integer, got {n_jobs!r}. Use -1 for all cores")
    return min(effective_n_jobs(n_jobs), _n_cores())


@functools.cache
def _n_cores():
    return cpu_count()  # cached because it reads files


def check_size(n_numbers: int, **parameters: Any) -> None:
    """Raise a ValueError if parameters request an array that is too large, before it is allocated."""
    if n_numbers > LARGEST:
        given = " and ".join(f"{name}={value!r}" for name, value in parameters.items())
        raise ValueError(
            f"{given} would need an array of {n_numbers:,} numbers, but at most {LARGEST:,} are accepted. "
            f"Lower {' or '.join(parameters)}."
        )


def plain(value: Any) -> Any:
    """Convert numpy numbers, also inside tuples and lists, to Python numbers; return anything else unchanged."""
    if isinstance(value, (np.number, np.bool_)):
        return float(value) if isinstance(value, np.longdouble) else value.item()
    if type(value) in (tuple, list):
        items = [plain(item) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return type(value)(items)
    return value


class PlainParameter:
    """A parameter of an estimator, which is stored as given and read as a plain Python number.

    A parameter grid made by np.arange holds np.int64, which faiss rejects; np.uint8 overflows and np.float32 rounds.
    `get_params` returns the value that was set, as scikit-learn requires.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            return plain(instance.__dict__[self.name])
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}") from None

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = value

    def __delete__(self, instance: Any) -> None:
        try:
            del instance.__dict__[self.name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}") from None


@dataclass_transform(eq_default=False)
def declared(cls: type[C]) -> type[C]:
    """Make a dataclass of parameters from annotated fields, and complete its docstring."""
    cls = dataclasses.dataclass(eq=False, repr=False)(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        setattr(cls, field.name, PlainParameter(field.name))
    document_parameters(cls)
    return cls


def validated(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a function by the annotations of its parameters."""
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    constraints = {name: constraints_of(hint) for name, hint in hints.items()}
    return validate_params(constraints, prefer_skip_nested_validation=True)(function)


def accepts(hint: Any, value: Any) -> bool:
    """Whether a value satisfies an annotation."""
    return any(make_constraint(constraint).is_satisfied_by(value) for constraint in constraints_of(hint))


# parameters that are read after `fit` too, which alone checks all of them
_READ_LATER = ("batch_size", "chunk_size", "order")


def check_read_later(estimator: Any) -> None:
    """Check the parameters that `transform` and similar methods read, because they may have changed since `fit`."""
    given = vars(estimator)
    for name in _READ_LATER:
        if name in given and not is_count(given[name]):
            constraints = estimator._parameter_constraints
            validate_parameter_constraints(
                {name: constraints[name]}, {name: given[name]}, caller_name=type(estimator).__name__
            )


class Constraints:
    """``_parameter_constraints`` of a class, derived from its fields on first access."""

    def __get__(self, instance: Any, owner: Any) -> dict[str, Any]:
        if "_constraints" not in vars(owner):
            hints = typing.get_type_hints(owner, include_extras=True)
            fields = getattr(owner, "__dataclass_fields__", {})
            owner._constraints = {name: constraints_of(hints[name]) for name in fields}
        return owner._constraints


def constraints_of(hint: Any) -> list[Any] | str:
    """scikit-learn's constraints (a list, or "no_validation") of an annotation."""
    if hint is Any:
        return "no_validation"
    origin = get_origin(hint)
    if origin is Annotated:
        return [*get_args(hint)[1:]]
    if origin in (typing.Union, types.UnionType):
        return [constraint for part in get_args(hint) for constraint in constraints_of(part)]
    if origin is Literal:
        return [StrOptions(set(get_args(hint)))]
    if hint is type(None):
        return [None]
    if hint is bool:
        return ["boolean"]
    if hint is Callable or origin is Callable:
        return [callable]
    return [Instances(origin or hint)]


class Parameters(Documented):
    """Base of classes whose parameters are declared as dataclass fields."""

    _parameter_constraints = Constraints()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters as they were given.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parameters of nested estimators.

        Returns
        -------
        dict
            Values by name.
        """
        params = super().get_params(deep)  # type: ignore[misc]  # defined in BaseEstimator, a later base class
        return {name: self.__dict__.get(name, value) for name, value in params.items()}


@declared
class OnDevice(Parameters):
    """Settings of estimators that compute with tensors.

    Parameters
    ----------
    device : str or torch.device
        "auto" is the device of a tensor input, otherwise CUDA if available, otherwise the CPU.
    """

    _: dataclasses.KW_ONLY
    device: Device = "auto"
