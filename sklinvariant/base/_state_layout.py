"""Declaration of the fitted state of each estimator class, which is checked when a file is loaded.

A class declares the entries of ``_state`` in ``_layout``, a dict that subclasses extend::

    _layout = {"codebook": Array("k", "n_descriptor_features"), "gamma": RealNumber(), "seed": Maybe(Whole(0))}

An axis with the name of an integer of the state or of an attribute of the estimator has this length. Any other name
stands for the same length wherever it occurs, and None for any length. ``_check_layout`` checks what a declaration
cannot express. Entries that are not declared, such as those of later versions, are accepted.

The checks do not read the values of arrays, which may be larger than memory.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch


class Check:
    """Base of the declarations, which check a value."""

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        """Raise a ValueError if the value does not match. ``name`` is its name in the message."""
        raise NotImplementedError


class Array(Check):
    """An array of floats, or of other ``kinds`` (numpy's dtype kinds), with these axes."""

    def __init__(self, *axes: str | int | None, kinds: str = "f") -> None:
        self.axes, self.kinds = axes, kinds

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in self.kinds:
            raise ValueError(f"{name} should be an array of kind {self.kinds!r}, got {_described(value)}")
        expected = tuple(lengths.of(axis, value, i) for i, axis in enumerate(self.axes))
        if value.shape != expected:
            raise ValueError(f"{name} should be of shape {expected}, got {value.shape}")


class Whole(Check):
    """An integer in a range."""

    def __init__(self, least: int = 1, most: int = 2**63 - 1) -> None:
        self.least, self.most = least, most

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not _is_whole(value) or not self.least <= value <= self.most:
            raise ValueError(f"{name} should be an integer in {self.least}-{self.most}, got {_described(value)}")


class RealNumber(Check):
    """A finite real number."""

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, (Real, np.floating)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name} should be a finite number, got {_described(value)}")


class Flag(Check):
    """True or False."""

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} should be True or False, got {_described(value)}")


class Text(Check):
    """A string, one of ``words`` if they are given."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, str) or (self.words and value not in self.words):
            raise ValueError(f"{name} should be a string of {self.words or 'any kind'}, got {_described(value)}")


class Each(Check):
    """A list or tuple whose items all satisfy ``item``, of length ``size`` if it is given."""

    def __init__(self, item: Check, size: int | None = None) -> None:
        self.item, self.size = item, size

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, (list, tuple)) or (self.size is not None and len(value) != self.size):
            raise ValueError(f"{name} should be a list of {self.size or 'any number of'} items")
        for item in value:
            self.item.check(item, f"an item of {name}", lengths)


class Anything(Check):
    """Any value that a file can hold."""

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        pass


class Fields(Check):
    """A dict with exactly these keys."""

    def __init__(self, **fields: Check) -> None:
        self.fields = fields

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, dict) or value.keys() != self.fields.keys():
            raise ValueError(f"{name} should be a dict of {', '.join(self.fields)}")
        check_entries(value, self.fields, name, lengths)


class Maybe(Check):
    """None or a value that satisfies another check; the entry may be missing."""

    def __init__(self, check: Check) -> None:
        self.inner = check

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if value is not None:
            self.inner.check(value, name, lengths)


class Weights(Check):
    """The weights of a network, a dict of arrays, of which ``known`` declares some."""

    def __init__(self, **known: Check) -> None:
        self.known = {name.replace("__", "."): check for name, check in known.items()}

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{name} should be a dict of arrays, got {_described(value)}")
        for key, array in value.items():
            if not isinstance(key, str) or not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
                raise ValueError(f"{name} should hold arrays of numbers by name, got {_described(array)} as {key!r}")
        check_entries(value, self.known, name, lengths)


class Row(Check):
    """A dict, such as a row of ``history_``."""

    def check(self, value: Any, name: str, lengths: "Lengths") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{name} should be a dict, got {_described(value)}")


COMMON = {
    "n_features_in_": Whole(),
    "n_features_out_": Whole(1, 1 << 24),
    "n_iter_": Whole(0),
    "pixel_range_": Each(RealNumber(), 2),
    "feature_names_in_": Array("n_features_in_", kinds="O"),
    "history_": Each(Row()),
}


def check_fitted_state(estimator: Any) -> None:
    """Raise a ValueError if the state of a loaded estimator does not match the declarations of its class."""
    fitted = vars(estimator)
    for name, check in COMMON.items():
        if name in fitted:
            check.check(fitted[name], name, Lengths({}, estimator))
    state = fitted.get("_state")
    if state is None and "_state" not in fitted:
        return
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"the state of {type(estimator).__name__} should be a dict, got {_described(state)}")
    check_entries(state, layout_of(type(estimator)), type(estimator).__name__, Lengths(state, estimator))
    if hasattr(estimator, "_check_layout"):
        estimator._check_layout()


def layout_of(kind: type) -> dict[str, Check]:
    """The declarations of a class and of its bases."""
    layout: dict[str, Check] = {"namespace": Maybe(Text())}
    for cls in reversed(kind.__mro__):
        layout |= vars(cls).get("_layout", {})
    return layout


def check_entries(values: dict[str, Any], layout: dict[str, Check], owner: str, lengths: "Lengths") -> None:
    """Raise a ValueError if an entry is missing or does not match its declaration."""
    for name, check in layout.items():
        if name not in values and not isinstance(check, Maybe):
            raise ValueError(f"{owner} lacks {name!r}")
        check.check(values.get(name), f"{name!r} of {owner}", lengths)


def load_arrays(module: torch.nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Load copies of weights, the arrays of a state dict of the same network.

    The network also gets the versions of its layers, which arrays do not have, and which MNASNet of torchvision needs.
    """
    weights = OrderedDict((name, torch.tensor(np.asarray(value))) for name, value in arrays.items())
    weights._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(weights)


def restore_weights(
    module: torch.nn.Module, weights: dict[str, np.ndarray], estimator: Any, *, parameters: str = "the parameters"
) -> None:
    """Load the weights of an estimator into a network, as `load_arrays` does.

    ``parameters`` names in the error message what may have changed since `fit`.
    """
    try:
        load_arrays(module, weights)
    except RuntimeError as error:
        raise ValueError(
            f"Set {parameters} back, or fit a clone: the weights of this {type(estimator).__name__} do not match its "
            "network"
        ) from error


class Lengths:
    """The lengths of axes by name."""

    def __init__(self, state: dict[str, Any], estimator: Any) -> None:
        self.state, self.estimator = state, estimator
        self.seen: dict[str, int | None] = {}

    def of(self, axis: str | int | None, value: np.ndarray, i: int) -> int | None:
        """The length that axis ``i`` of an array should have."""
        actual = value.shape[i] if i < value.ndim else None
        if axis is None or isinstance(axis, int):
            return actual if axis is None else axis
        declared = self.state.get(axis, vars(self.estimator).get(axis))
        return declared if _is_whole(declared) else self.seen.setdefault(axis, actual)


def _is_whole(value):
    return isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))


def _described(value):
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    return f"{type(value).__name__} {str(value)[:50]}" if isinstance(value, (int, float, str)) else type(value).__name__
