"""What the state of a fitted estimator must look like: declared by each class, checked when a file is read.

A class declares the entries of ``_state`` that it computes with in ``_layout``, a dict that subclasses add to::

    _layout = {"codebook": Array("k", "n_descriptor_features"), "gamma": RealNumber(), "seed": Maybe(Whole(0))}

An axis that is named like an integer of the state or an attribute of the estimator has that length; any other name
stands for one length wherever it occurs; None is any length. What a declaration cannot express goes into
``_check_layout``. Entries that are not declared, as those of later versions, are let through.

The checks read no values of arrays, which may be larger than memory.
"""

import math
from numbers import Integral, Real

import numpy as np
import torch


class Check:
    """Says whether a value is what was declared."""

    def check(self, value, name, lengths):
        """Raise ValueError where the value, called ``name``, is not."""
        raise NotImplementedError


class Array(Check):
    """An array of floats, or of other ``kinds`` (numpy's letters), with these axes."""

    def __init__(self, *axes, kinds="f"):
        self.axes, self.kinds = axes, kinds

    def check(self, value, name, lengths):
        if not isinstance(value, np.ndarray) or value.dtype.kind not in self.kinds:
            raise ValueError(f"{name} should be an array of kind {self.kinds!r}, got {_described(value)}")
        expected = tuple(lengths.of(axis, value, i) for i, axis in enumerate(self.axes))
        if value.shape != expected:
            raise ValueError(f"{name} should be of shape {expected}, got {value.shape}")


class Whole(Check):
    """An integer in a range."""

    def __init__(self, least=1, most=2**63 - 1):
        self.least, self.most = least, most

    def check(self, value, name, lengths):
        if not _is_whole(value) or not self.least <= value <= self.most:
            raise ValueError(f"{name} should be an integer in {self.least}-{self.most}, got {_described(value)}")


class RealNumber(Check):
    """A finite real number."""

    def check(self, value, name, lengths):
        if not isinstance(value, (Real, np.floating)) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"{name} should be a finite number, got {_described(value)}")


class Flag(Check):
    """True or False."""

    def check(self, value, name, lengths):
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} should be True or False, got {_described(value)}")


class Text(Check):
    """A string, one of ``words`` if there are any."""

    def __init__(self, *words):
        self.words = words

    def check(self, value, name, lengths):
        if not isinstance(value, str) or (self.words and value not in self.words):
            raise ValueError(f"{name} should be a string of {self.words or 'any kind'}, got {_described(value)}")


class Each(Check):
    """A list or tuple whose items are all of one kind; ``size`` of them if it is given."""

    def __init__(self, item, size=None):
        self.item, self.size = item, size

    def check(self, value, name, lengths):
        if not isinstance(value, (list, tuple)) or (self.size is not None and len(value) != self.size):
            raise ValueError(f"{name} should be a list of {self.size or 'any number of'} items")
        for item in value:
            self.item.check(item, f"an item of {name}", lengths)


class Anything(Check):
    """Whatever can be read from a file."""

    def check(self, value, name, lengths):
        pass


class Fields(Check):
    """A dict with exactly these entries."""

    def __init__(self, **fields):
        self.fields = fields

    def check(self, value, name, lengths):
        if not isinstance(value, dict) or value.keys() != self.fields.keys():
            raise ValueError(f"{name} should be a dict of {', '.join(self.fields)}")
        check_entries(value, self.fields, name, lengths)


class Maybe(Check):
    """None, or what another check takes; the entry may be missing."""

    def __init__(self, check):
        self.inner = check

    def check(self, value, name, lengths):
        if value is not None:
            self.inner.check(value, name, lengths)


class Weights(Check):
    """The weights of a network, arrays by name; ``known`` declares some of them."""

    def __init__(self, **known):
        self.known = {name.replace("__", "."): check for name, check in known.items()}

    def check(self, value, name, lengths):
        if not isinstance(value, dict):
            raise ValueError(f"{name} should be a dict of arrays, got {_described(value)}")
        for key, array in value.items():
            if not isinstance(key, str) or not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
                raise ValueError(f"{name} should hold arrays of numbers by name, got {_described(array)} as {key!r}")
        check_entries(value, self.known, name, lengths)


class Row(Check):
    """A dict, as those of ``history_``."""

    def check(self, value, name, lengths):
        if not isinstance(value, dict):
            raise ValueError(f"{name} should be a dict, got {_described(value)}")


COMMON = {
    "n_features_in_": Whole(),
    "n_features_out_": Whole(1, 1 << 24),
    "n_iter_": Whole(0),
    "feature_names_in_": Array("n_features_in_", kinds="O"),
    "history_": Each(Row()),
}


def check_fitted_state(estimator):
    """Raise ValueError where what was read of a fitted estimator is not what its class declares."""
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


def layout_of(kind):
    """The declarations of a class and its bases."""
    layout = {"namespace": Maybe(Text())}
    for cls in reversed(kind.__mro__):
        layout |= vars(cls).get("_layout", {})
    return layout


def check_entries(values, layout, owner, lengths):
    for name, check in layout.items():
        if name not in values and not isinstance(check, Maybe):
            raise ValueError(f"{owner} lacks {name!r}")
        check.check(values.get(name), f"{name!r} of {owner}", lengths)


def restore_weights(module, weights, estimator):
    """Give a network the weights that an estimator keeps, as numbers of its own: they may be mapped from a file."""
    try:
        module.load_state_dict({name: torch.tensor(np.asarray(value)) for name, value in weights.items()})
    except RuntimeError as error:
        raise ValueError(
            f"the weights that this {type(estimator).__name__} keeps do not fit its network ({error}). Set its "
            "parameters back to what they were in fit, or fit a clone"
        ) from error


class Lengths:
    """Lengths of axes by name."""

    def __init__(self, state, estimator):
        self.state, self.estimator, self.seen = state, estimator, {}

    def of(self, axis, value, i):
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


__all__ = [
    "Anything",
    "Array",
    "Check",
    "Each",
    "Fields",
    "Flag",
    "Maybe",
    "RealNumber",
    "Text",
    "Weights",
    "Whole",
    "check_fitted_state",
    "restore_weights",
]
