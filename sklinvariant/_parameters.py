"""How estimators declare their parameters: once, as annotated dataclass fields.

The annotation is the type for readers and type checkers and the constraint that scikit-learn checks in `fit`; the
signature, ``get_params`` and ``repr`` follow from the fields, and the default in the docstring from the signature.
"""

import dataclasses
import inspect
import os
import types
import typing
from collections.abc import Callable
from numbers import Integral, Real
from typing import Annotated, Any, Literal, dataclass_transform, get_args, get_origin

import numpy as np
import torch
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

Count = Annotated[int, Interval(Integral, 1, None, closed="left")]
NonNegativeInt = Annotated[int, Interval(Integral, 0, None, closed="left")]
Positive = Annotated[float, Interval(Real, 0, None, closed="neither")]
NonNegative = Annotated[float, Interval(Real, 0, None, closed="left")]
Share = Annotated[float, Interval(Real, 0, 1, closed="both")]
Verbose = Annotated[int, "verbose"]
RandomState = Annotated[int | np.random.RandomState | None, "random_state"]
ArrayLike = Annotated[Any, "array-like"]
Device = str | torch.device
Path = str | os.PathLike


@dataclass_transform(eq_default=False)
def declared(cls):
    """Make a class of parameters out of annotated fields, and complete its docstring."""
    cls = dataclasses.dataclass(eq=False, repr=False)(cls)
    cls.__doc__ = _documented(cls)
    return cls


_SECTION = "Parameters\n----------\n"


def _documented(cls):
    """The docstring with all parameters, those that settings classes document too, and with their defaults."""
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "")
    head, rest, own = _split(doc)
    cls._parameter_docs = own
    known = {}
    for base in reversed(cls.__mro__):
        known |= vars(base).get("_parameter_docs", {})
    entries = []
    for field in (field for kw_only in (False, True) for field in dataclasses.fields(cls) if field.kw_only == kw_only):
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
    return f'"{value}"' if isinstance(value, str) else repr(value)


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
    if hint is float:
        return [Real]
    if hint is int:
        return [Integral]
    if hint is Callable or origin is Callable:
        return [callable]
    return [origin or hint]
