"""How estimators declare their parameters: once, as annotated dataclass fields.

The annotation is the type for readers and type checkers, and the constraint that scikit-learn checks in `fit`. The
signature, ``get_params`` and ``repr`` follow from the fields, and the default in the docstring from the signature.
"""

import dataclasses
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, dataclass_transform, get_args, get_origin

import numpy as np
import torch
from joblib import cpu_count, effective_n_jobs

from sklinvariant._compat import Interval, RealNotInt, StrOptions, make_constraint, validate_params

LARGEST = 2**31 - 1  # faiss, OpenCV and OpenMP count in 32 bits
LARGEST_SIDE = 2**15 - 1  # of an image in pixels; OpenCV counts them in 16 bits


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
# negative numbers count back from all cores, as in joblib: -1 is all of them
NJobs = Annotated[int, integers(-LARGEST, -1)] | Count | None
Verbose = Annotated[int, "verbose"]
RandomState = Annotated[int | np.random.RandomState | None, "random_state"]
Device = str | torch.device


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


@dataclass_transform(eq_default=False)
def declared(cls):
    """Make a class of parameters out of annotated fields, and complete its docstring."""
    cls = dataclasses.dataclass(eq=False, repr=False)(cls)
    for field in dataclasses.fields(cls):
        setattr(cls, field.name, PlainParameter(field.name))
    cls.__doc__ = _documented(cls)
    return cls


_SECTION = "Parameters\n----------\n"


def _documented(cls):
    """The docstring with all parameters, those that settings classes document too, and with their defaults."""
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "")
    head, rest, own = _split(doc)
    cls._parameter_docs = own
    known, depth = {}, {}
    for i, base in enumerate(reversed(cls.__mro__)):
        known |= vars(base).get("_parameter_docs", {})
        depth |= dict.fromkeys(vars(base).get("__annotations__", {}), -i)
    entries = []
    # as in the signature: positional ones first; then the class's own before those of its bases
    for field in sorted(dataclasses.fields(cls), key=lambda field: (field.kw_only, depth[field.name])):
        kind, text = known.get(field.name, ("object", []))
        default = "" if field.default is dataclasses.MISSING else f", default={_shown(field.default)}"
        entries.append("\n".join([f"{field.name} : {kind}{default}", *text]))
    parameters = [_SECTION + "\n".join(entries)] if entries else []
    return "\n\n".join(part for part in (head, *parameters, rest) if part)


def _split(doc):
    """What stands before and after the section of parameters, and its entries: name -> (kind, lines of text)."""
    head, _, section = doc.partition(_SECTION)
    if not section:
        return (*_before_sections(doc), {})
    text, _, rest = section.partition("\n\n")
    entries, lines = {}, text.splitlines()
    for line in lines:
        if line.startswith(" "):
            entries[name][1].append(line)  # noqa: F821
        else:
            name, _, kind = line.partition(" : ")
            entries[name] = (kind, [])
    return head.strip(), rest.strip(), entries


def _before_sections(doc):
    """(text, sections) of a docstring without parameters."""
    lines = doc.splitlines()
    starts = [i for i in range(len(lines) - 1) if lines[i + 1].startswith("---") and lines[i]]
    start = starts[0] if starts else len(lines)
    return "\n".join(lines[:start]).strip(), "\n".join(lines[start:]).strip()


def _shown(value):
    return re.sub(r"\binf\b", "np.inf", repr(value).replace("'", '"'))


def validated(function):
    """Check the arguments of a function by the annotations of its parameters."""
    hints = typing.get_type_hints(function, include_extras=True)
    hints.pop("return", None)
    constraints = {name: constraints_of(hint) for name, hint in hints.items()}
    return validate_params(constraints, prefer_skip_nested_validation=True)(function)


def accepts(hint, value):
    """Whether a value satisfies an annotation."""
    return any(make_constraint(constraint).is_satisfied_by(value) for constraint in constraints_of(hint))


class Constraints:
    """``_parameter_constraints`` of a class, derived from its fields when scikit-learn first asks for them."""

    def __get__(self, instance, owner):
        if "_constraints" not in vars(owner):
            hints = typing.get_type_hints(owner, include_extras=True)
            fields = getattr(owner, "__dataclass_fields__", {})
            owner._constraints = {name: constraints_of(hints[name]) for name in fields}
        return owner._constraints


def constraints_of(hint):
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
    return [origin or hint]


class Parameters:
    """Base of classes whose parameters are declared as fields."""

    _parameter_constraints = Constraints()

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


@declared
class OnDevice(Parameters):
    """Settings of what computes with tensors.

    Parameters
    ----------
    device : str or torch.device
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.
    """

    _: dataclasses.KW_ONLY
    device: Device = "auto"
