"""Fitted estimators as one safetensors file: arrays as tensors, the rest as JSON. Loading a file runs no code."""

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

import sklinvariant
from sklinvariant._compat import metadata_requests, request_metadata
from sklinvariant.base._discovery import public_classes
from sklinvariant.base._state_layout import check_fitted_state
from sklinvariant.base._writing import replacing

_FORMAT = "sklinvariant-estimator"
_VERSION = 1
_DTYPES = {
    f"{kind.upper()}{8 * size}": np.dtype(f"<{kind}{size}") for kind in "iuf" for size in (1, 2, 4, 8)[kind == "f" :]
}
_DTYPES["BOOL"] = np.dtype(bool)
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_WORDS_BYTES = 1 << 26  # limit for arrays of strings, whose fixed width may be much larger than the strings in the file
_RENAMED = {"alpha": "weight_decay"}  # parameters of the first release
_PRIVATE_STATE = ("_state", "_sklearn_output_config")


class StreamedBytes:
    """Stands for a uint8 array in the state of an estimator that is written to a file without being held in memory.

    ``write`` passes the bytes, in parts and in order, to the function that it is called with. It is called more than
    once and must pass the same bytes each time.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, write: Callable[[Callable[[Any], Any]], Any]) -> None:
        self.write = write
        counted = [0]

        def count(part):
            counted[0] += len(part)

        write(count)
        self.shape = (counted[0],)


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator of this package, its parameters and fitted attributes, to a file.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of `all_estimators`. For a whole Pipeline use ``skops.io`` with `trusted_types`.
    path : str or path-like
        The file to write. An existing file is replaced atomically.

    Raises
    ------
    TypeError
        If a parameter or attribute, which the message names, is neither a plain value, an array, nor an estimator of
        this package.

    Examples
    --------
    >>> import os, tempfile, numpy as np, sklinvariant
    >>> bags = np.random.default_rng(0).normal(size=(5, 8, 3))
    >>> model = sklinvariant.BagOfWords(4, random_state=0).fit(bags)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sklinvariant.save(model, os.path.join(folder, "bow.safetensors"))
    ...     again = sklinvariant.load(os.path.join(folder, "bow.safetensors"))
    >>> bool((again.transform(bags) == model.transform(bags)).all())
    True
    """
    tensors: dict[str, np.ndarray | StreamedBytes] = {}
    document = {
        "format": _FORMAT,
        "version": _VERSION,
        "package": sklinvariant.__version__,
        "estimator": _encode_estimator(estimator, tensors),
    }
    text = json.dumps(document)
    # wide numbers first, so that every array starts at a multiple of its item size
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    head = _head(text, tensors, order)
    with replacing(path) as file:
        file.write(len(head).to_bytes(8, "little"))
        file.write(head)
        for name in order:
            _pass_bytes(tensors[name], file.write)


def _head(text, tensors, order):
    """The header of a safetensors file. The library itself would need copies of all arrays."""
    head: dict[str, Any] = {"__metadata__": {"document": text, "sha256": _digest(text, tensors)}}
    start = 0
    for name in order:
        dtype, shape = tensors[name].dtype, tensors[name].shape
        end = start + math.prod(shape) * dtype.itemsize
        head[name] = {"dtype": _DTYPE_NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    return encoded + b" " * (-len(encoded) % 8)  # the data must start at a multiple of 8


def _pass_bytes(values, sink):
    """Call ``sink`` with the bytes of an array, without a copy."""
    if isinstance(values, StreamedBytes):
        values.write(sink)
    else:
        sink(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def load(path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None = None) -> Any:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file to read.
    mmap_mode : {"r", None}, default=None
        "r" memory-maps the arrays: loading is fast and the arrays may be larger than memory. The file must then stay in
        place, and its contents are not verified by the checksum.

    Returns
    -------
    estimator
        The estimator as it was saved. It computes on its ``device``, also on a machine without the GPU of the fit.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is truncated, modified, of another format, or of a newer version.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(
            f"{path} is a folder, but a file of sklinvariant.save is needed. A folder that `sklinvariant index` wrote "
            "is searched by `sklinvariant query`"
        )
    with open(path, "rb"):
        pass
    if mmap_mode not in (None, "r"):
        raise ValueError(f"mmap_mode must be None or 'r', got {mmap_mode!r}")
    try:
        with safe_open(path, framework="numpy") as file:  # checks the header
            metadata = file.metadata() or {}
        tensors = _arrays(path, mapped=mmap_mode is not None)
    except (SafetensorError, OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(
            f"{path} is not a complete file of sklinvariant.save ({error}). Save the estimator again, or read a "
            "file of joblib or skops with the library that wrote it"
        ) from error
    text = metadata.get("document", "")
    intact = metadata.get("sha256") is not None and (
        mmap_mode is not None or metadata["sha256"] == _digest(text, tensors)
    )
    if not intact:
        raise ValueError(f"{path} was not written by sklinvariant.save, or was modified since. Save it again")
    # the digest detects damage but not malice: an attacker can also write a matching digest
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT or document["version"] > _VERSION:
            raise ValueError(
                f"it was written by sklinvariant {document['package']}, but this is {sklinvariant.__version__}"
            )
        return _Decoder(text, tensors).estimator(document["estimator"])
    # all errors that a crafted document can cause
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path} contains no model that this version of sklinvariant can read ({error})") from error


def trusted_types() -> list[str]:
    """Names of this package's types, for ``skops.io.load(path, trusted=trusted_types())``.

    Returns
    -------
    list of str
    """
    names = [f"{cls.__module__}.{cls.__qualname__}" for _, cls in public_classes()]
    return sorted([*names, "sklinvariant.bags._descriptor_sets.DescriptorSets"])


def _digest(text, tensors):
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].dtype.str}{tensors[name].shape}".encode())
        _pass_bytes(tensors[name], digest.update)
    return digest.hexdigest()


def _arrays(path, *, mapped):
    """The arrays of a safetensors file, which is 8 bytes of length, a JSON header and the data.

    The library itself would hold the contents of the file in memory twice.
    """
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(start - 8))
    arrays = {}
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        offset = start + entry["data_offsets"][0]
        if 0 in shape:  # cannot be mapped
            arrays[name] = np.empty(shape, dtype)
        elif mapped:
            arrays[name] = np.memmap(path, dtype, "r", offset, shape)
        else:
            arrays[name] = np.fromfile(path, dtype, math.prod(shape), offset=offset).reshape(shape)
    return arrays


def _known_classes():
    return {**dict(public_classes()), "FrozenEstimator": FrozenEstimator}  # wraps an estimator of this package


def _encode_estimator(estimator, tensors, where="estimator"):
    name = type(estimator).__name__
    if _known_classes().get(name) is not type(estimator):
        raise TypeError(
            f"{where} is a {name}, which is not an estimator of sklinvariant. Save it with "
            "skops.io.dump, and load it with skops.io.load(path, trusted=sklinvariant.trusted_types())"
        )
    params = estimator.get_params(deep=False)
    # of the class, because a FrozenEstimator has the attributes of the estimator that it wraps
    has_own = hasattr(type(estimator), "_state_for_file")
    state = estimator._state_for_file() if has_own else estimator.__getstate__()
    fitted = {key: value for key, value in state.items() if _is_fitted_state(key) and key not in params}
    if where == "estimator":
        check_is_fitted(estimator)
    return {
        "estimator": name,
        "requests": metadata_requests(estimator),
        "params": {key: _encode(value, tensors, f"parameter {key!r} of {name}") for key, value in params.items()},
        "fitted": {key: _encode(value, tensors, f"attribute {key!r} of {name}") for key, value in fitted.items()},
    }


def _is_fitted_state(key):
    return key in _PRIVATE_STATE or (key.endswith("_") and not key.startswith("_"))


def _is_plain_number(dtype):
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def _encode(value, tensors, where):
    """Plain values as JSON; values without a JSON type as an object whose first key names the type."""
    if isinstance(value, np.generic) and _is_plain_number(value.dtype):  # first, as np.float64 is a float
        return {"scalar": _encode(value.item(), tensors, where), "dtype": value.dtype.name}
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, StreamedBytes):
        name = str(len(tensors))
        tensors[name] = value
        return {"array": name}
    if isinstance(value, np.ndarray):
        if _is_plain_number(value.dtype):
            name = str(len(tensors))
            tensors[name] = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
            return {"array": name}
        if value.dtype.kind in "UO" and all(isinstance(item, str) for item in value.ravel()):
            return {"words": value.tolist(), "dtype": "object" if value.dtype == object else value.dtype.str}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encode(item, tensors, where) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, (str, int, float)) for key in value):
        return {"dict": [[_encode(k, tensors, where), _encode(v, tensors, where)] for k, v in value.items()]}
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, BaseEstimator):
        return _encode_estimator(value, tensors, where)
    raise TypeError(f"{where} is a {type(value).__name__}, which sklinvariant.save cannot write. Use skops.io")


class _Decoder:
    """Estimators from a document and arrays that may be malicious: a small file cannot allocate much memory."""

    def __init__(self, text: str, tensors: dict[str, np.ndarray]) -> None:
        self.tensors, self.classes = tensors, _known_classes()
        self.bytes_left = _WORDS_BYTES + 64 * len(text)  # left for arrays of strings

    def estimator(self, value: dict[str, Any]) -> Any:
        if value["estimator"] not in self.classes:
            raise ValueError(f"{value['estimator']} is not an estimator of this version")
        params = {_RENAMED.get(key, key): self.value(item) for key, item in value["params"].items()}
        estimator = self.classes[value["estimator"]](**params)
        if hasattr(estimator, "_parameter_constraints"):
            estimator._validate_params()
        request_metadata(estimator, value.get("requests", {}))
        for key, item in value["fitted"].items():
            if not _is_fitted_state(key):
                raise ValueError(f"{key!r} is not an attribute that fit sets")
            setattr(estimator, key, self.value(item))
        check_fitted_state(estimator)
        if hasattr(estimator, "_adapt_earlier"):
            estimator._adapt_earlier()
        return estimator

    def value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "estimator" in value:
            return self.estimator(value)
        ((kind, content), *rest) = value.items()
        if kind == "float":
            return float(content)
        if kind == "scalar":
            return self.scalar(content, np.dtype(dict(rest)["dtype"]))
        if kind == "array":
            return self.tensors[content]
        if kind == "words":
            return self.words(content, np.dtype(dict(rest)["dtype"]))
        if kind == "dict":
            return {self.value(k): self.value(v) for k, v in content}
        return {"list": list, "tuple": tuple}[kind](self.value(item) for item in content)

    def scalar(self, content: Any, dtype: np.dtype) -> np.generic:
        if not _is_plain_number(dtype):
            raise ValueError(f"{dtype} is not a numeric dtype")
        return dtype.type(self.value(content))

    def words(self, content: Any, dtype: np.dtype) -> np.ndarray:
        as_objects = np.array(content, dtype=object)
        self.bytes_left -= as_objects.size * dtype.itemsize
        if dtype.kind not in "UO" or self.bytes_left < 0 or not all(isinstance(word, str) for word in as_objects.flat):
            raise ValueError(f"{as_objects.size} items are not strings of dtype {dtype}")
        return as_objects.astype(dtype)
