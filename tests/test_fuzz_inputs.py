"""Input of any dtype, memory layout, scale and container gives the right result, or an error that names the cause.

Quick and the same at every run; ``SKLINVARIANT_FUZZ=100`` tries a hundred times as many.
"""

import functools
import linecache
import os
import tempfile
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import BAGS, CODES, ESTIMATORS, IMAGES, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from tolerance import assert_close

from sklinvariant import DescriptorSets

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
LONGER = float(os.environ.get("SKLINVARIANT_FUZZ", 1))
CLEAR = (ValueError, TypeError, FloatingPointError)
METHODS = ("transform", "predict_proba", "kneighbors", "predict", "fit_predict")
OURS, SKLEARN = f"{os.sep}sklinvariant{os.sep}", f"{os.sep}sklearn{os.sep}"


def quick(n):
    return settings(
        max_examples=max(1, round(n * LONGER)),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


NUMPY_DTYPES = ["u1", "i1", "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8", ">f4", ">i4", "g"]
TORCH_DTYPES = [
    torch.uint8,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


def doubled(x):
    return np.repeat(x, 2, axis=0)[::2]


def unaligned(x):
    packed = np.zeros(x.shape, dtype=np.dtype([("pad", "u1"), ("value", x.dtype)]))
    packed["value"] = x
    return packed["value"]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def memory_mapped(x):
    path = Path(tempfile.mkdtemp()) / "x.npy"
    np.save(path, x)
    return np.load(path, mmap_mode="r")


def object_array(x):
    items = np.empty(len(x), dtype=object)
    items[:] = list(x)
    return items


def data_frame(x):
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(x.reshape(len(x), -1)) if x.ndim == 2 else pd.Series(list(x))


# what holds the same numbers: each must give the answer that the plain array gives
LAYOUTS = {
    "as it is": lambda x: x,
    "fortran": np.asfortranarray,
    "negative strides": lambda x: np.flip(np.flip(x, (0, -1)).copy(), (0, -1)),
    "every second": doubled,
    "unaligned": unaligned,
    "read-only": read_only,
    "memory-mapped": memory_mapped,
}
CONTAINERS = {
    "array": lambda x: x,
    "list": list,
    "tuple": tuple,
    "nested lists": lambda x: x.tolist(),
    "object array": object_array,
    "data frame": data_frame,
    "unmasked": np.ma.asarray,
    "list of arrays in Fortran order": lambda x: [np.asfortranarray(item) for item in x],
}
TENSOR_LAYOUTS = {
    "tensor": lambda t: t,
    "permuted": lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0),
    "every second": lambda t: torch.stack([t, t], 1).flatten(0, 1)[::2] if t.itemsize > 1 else t,
    "list": list,
    "tuple": tuple,
    "gradient": lambda t: t.clone().requires_grad_() if t.dtype in (torch.float32, torch.float64) else t,
    "negated": lambda t: torch.imag(torch.complex(t, -t).conj()) if t.dtype == torch.float32 else t,
}
# KMeans, which this one is given here, has its own say about dtypes and tensors
ARRAYS = sorted(set(ESTIMATORS) - {"OverclusteringClassifier"})
TENSORS = sorted(set(ARRAYS) - CODES)
LEGITIMATE = {
    *((name, "nested") for name in {*BAGS, "SpatialPooling"}),  # a nested tensor holds bags
    *((name, "None") for name in (*CODES, "EmbeddingNeighbors")),  # what is stored asks for their own neighbours
}
# what no estimator can take
WRONG = {
    "None": lambda x: None,
    "0-d": lambda x: np.float32(3),
    "0-d array": lambda x: np.array(3.0),
    "0-d tensor": lambda x: torch.tensor(3.0),
    "one axis": lambda x: x.ravel(),
    "one axis of a tensor": lambda x: torch.as_tensor(x).ravel(),
    "six axes": lambda x: x.reshape(len(x), 1, 1, 1, 1, -1),
    "no samples": lambda x: x[:0],
    "no features": lambda x: x[..., :0],
    "no samples of a tensor": lambda x: torch.as_tensor(x)[:0],
    "empty list": lambda x: [],
    "empty tuple": lambda x: (),
    "file name": lambda x: "photo.jpg",
    "path": lambda x: Path("photo.jpg"),
    "file names": lambda x: ["a.jpg", "b.jpg"],
    "array of names": lambda x: np.array(["a.jpg", "b.jpg"]),
    "words": lambda x: np.full(x.shape, "a"),
    "bytes": lambda x: b"abc",
    "dates": lambda x: np.zeros(x.shape, "M8[s]"),
    "complex": lambda x: x.astype(complex),
    "complex tensor": lambda x: torch.as_tensor(x).to(torch.complex64),
    "objects": lambda x: np.full(x.shape, None, dtype=object),
    "structured": lambda x: np.zeros(x.shape, "f4,f4"),
    "NaN": lambda x: np.full(x.shape, np.nan, np.float32),
    "infinity": lambda x: torch.full(x.shape, torch.inf),
    "sparse": lambda x: torch.as_tensor(x).to_sparse(),
    "nested": lambda x: torch.nested.nested_tensor([torch.as_tensor(item) for item in x]),
    "meta": lambda x: torch.as_tensor(x).to("meta"),
    "list of meta": lambda x: list(torch.as_tensor(x).to("meta")),
    "list of None": lambda x: [None] * len(x),
    "ragged lists": lambda x: [[1.0, 2.0], [3.0]],
    "dictionary": lambda x: {"a": x},
    "generator": lambda x: (item for item in x),
    "set": lambda x: {1, 2, 3},
    "module": lambda x: torch.nn.Identity(),
}


@functools.cache
def fitted(name):
    """(fitted estimator, 6 samples), for the results of plain arrays."""
    estimator, X, y = example(name)
    if "max_epochs" in estimator.get_params():
        estimator.set_params(max_epochs=1)
    n = 6 if name in IMAGES else len(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model that has learned nothing in an epoch
        return estimator.fit(X[:n], y[:n]), X[:6]


def answer(estimator, X):
    method = next(name for name in METHODS if hasattr(estimator, name))
    result = getattr(estimator, method)(X)
    result = result[0] if isinstance(result, tuple) else result
    result = result.values if isinstance(result, DescriptorSets) else result
    return np.asarray(torch.as_tensor(result).detach().double())


def verdict(call):
    """The result of a call; None after an error of this package or scikit-learn of a type that names a cause."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except CLEAR as error:
            if not _is_clear(error):
                raise
            return None


def _is_clear(error):
    """Whether this package or scikit-learn raised the error, not a library that they call."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    return SKLEARN in frame.filename or (OURS in frame.filename and line.startswith("raise"))


def same_or_refused(name, X, plain):
    estimator = fitted(name)[0]
    expected = verdict(lambda: answer(estimator, plain))
    result = verdict(lambda: answer(estimator, X))
    if result is not None:
        assert np.isfinite(result).all()
        if expected is not None:
            assert_close(result, expected, rtol=1e-3)
    return result


def numbers_of(name, dtype, X):
    """The numbers of X in a dtype, and the plain array as which they are read."""
    kind = np.dtype(dtype).kind if not isinstance(dtype, torch.dtype) else ("f" if dtype.is_floating_point else "i")
    if kind in "iu" and name not in CODES:
        X = np.round(X * (60 if name in IMAGES else 9)).clip(0)  # int8 holds no more
        return X, X.astype(np.uint8 if name in IMAGES else np.float32)
    return X, X


@pytest.mark.parametrize("name", ARRAYS)
@quick(10)
@given(data=st.data())
def test_arrays(name, data):
    X = fitted(name)[1]
    dtype = data.draw(st.sampled_from(NUMPY_DTYPES))
    layout, container = data.draw(st.sampled_from(sorted(LAYOUTS))), data.draw(st.sampled_from(sorted(CONTAINERS)))
    X, plain = numbers_of(name, dtype, X)
    held = X.astype(dtype)
    plain = plain if held.dtype.kind in "iu" else held.astype(np.float64 if held.itemsize >= 8 else np.float32)
    result = same_or_refused(name, CONTAINERS[container](LAYOUTS[layout](held)), plain)
    assert result is not None or container not in ("array", "list", "tuple") or name in CODES


@pytest.mark.parametrize("name", TENSORS)
@quick(8)
@given(data=st.data())
def test_tensors(name, data):
    dtype, layout = data.draw(st.sampled_from(TORCH_DTYPES)), data.draw(st.sampled_from(sorted(TENSOR_LAYOUTS)))
    X, plain = numbers_of(name, dtype, fitted(name)[1])
    if name not in IMAGES | BAGS and layout in ("list", "tuple"):
        dtype = torch.float32  # numpy makes the rows of a list an array, and knows no shorter floats than its own
    held = torch.as_tensor(X).to(dtype)
    plain = held.to(torch.float64 if dtype == torch.float64 else torch.float32).numpy() if plain is X else plain
    same_or_refused(name, TENSOR_LAYOUTS[layout](held), plain)


@pytest.mark.parametrize("name", TENSORS)
@quick(10)
@given(kind=st.sampled_from(sorted(WRONG)), fits=st.booleans())
def test_what_is_no_data(name, kind, fits):
    estimator, X = fitted(name)
    wrong = WRONG[kind](X)
    y = np.arange(len(X)) % 2
    call = (lambda: clone(estimator).fit(wrong, y)) if fits else (lambda: answer(estimator, wrong))
    result = verdict(call)
    assert result is None or (name, kind) in LEGITIMATE, f"{kind} was taken for data"


@pytest.mark.parametrize("name", sorted(IMAGES | {"IICClusterer"}))
@quick(10)
@given(
    scale=st.sampled_from([0.0, 1e-300, 1e-30, 1e-3, 2.0, 255.0, 1e10, 1e30, 1e38, 1e150, 1e300]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    sign=st.sampled_from([1, -1]),
    fits=st.booleans(),
)
def test_scales_of_images(name, scale, dtype, sign, fits):
    estimator, _ = fitted(name)
    if name == "IICClusterer":  # without the large networks that images have by default
        estimator = clone(estimator).set_params(network="mlp", n_heads=1)
        fits = True
    X = example("DensePatches")[1][:6]
    with np.errstate(over="ignore"):
        images = (sign * scale * X.astype(np.float64)).astype(dtype)

    def call():
        model = clone(estimator).fit(images) if fits else estimator
        return answer(model, images)

    result = verdict(call)
    assert result is None or np.isfinite(result).all()


@pytest.mark.parametrize("name", sorted(BAGS))
@quick(5)
@given(data=st.data())
def test_bags_of_any_sizes(name, data):
    estimator, X = fitted(name)
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    bags = [bag[:size] for bag, size in zip(X, sizes, strict=False)]
    plain = answer(estimator, DescriptorSets.from_bags(bags))
    kind = data.draw(st.sampled_from([list, tuple, object_array, lambda bags: [torch.as_tensor(bag) for bag in bags]]))
    assert_close(answer(estimator, kind(bags)), plain)
