"""Damaged and crafted files give the right model, or a ValueError of this package.

``SKLINVARIANT_FUZZ=20`` tries twenty times as many.
"""

import contextlib
import copy
import functools
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from examples import example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import sklinvariant
from sklinvariant import DescriptorSets
from sklinvariant.base import _persistence as _persistence
from sklinvariant.cluster import IICClusterer
from sklinvariant.neighbors import HammingNeighbors

TIMES = float(os.environ.get("SKLINVARIANT_FUZZ", "1"))
MODELS = [
    "AutoPooling",
    "BagOfWords",
    "BilinearHasher",
    "CanonicalRotation",
    "DensePatches",
    "EquivariantAutoencoder",
    "FisherVector",
    "HammingNeighbors",
    "IICSegmenter",
    "LSHHasher",
    "LearnedBoW",
    "LearnedFisherVector",
    "NeighborHasher",
    "RBMHasher",
    "SKLSHHasher",
    "SignHasher",
    "SparseAutoencoder",
    "SpatialPooling",
    "SpectralHasher",
    "VLAD",
]


def fuzz(n, **strategies):
    """Try n examples, which are the same in each run."""

    def decorate(test):
        checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
        options = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": checks}
        return settings(max_examples=max(1, int(n * TIMES)), **options)(given(**strategies)(test))

    return decorate


def is_ours(error):
    """A ValueError (or a FloatingPointError for overflow) that was not raised by torch, faiss or numpy."""
    foreign = ("Error in ", "mat1 and mat2", "size mismatch", "RuntimeError", "broadcast", "The size of tensor")
    return isinstance(error, (ValueError, FloatingPointError)) and not str(error).startswith(foreign)


@functools.cache
def _fitted(name):
    estimator, X, y = example(name)
    for parameter in ("max_epochs", "max_iter"):
        if parameter in estimator.get_params():
            estimator.set_params(**{parameter: 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(X, y), X


def _use(model, X):
    """The results of all methods of a model."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for method in ("transform", "predict", "kneighbors", "radius_neighbors", "get_feature_names_out"):
            if hasattr(model, method):
                getattr(model, method)(*([] if method == "get_feature_names_out" else [X]))


def _check(path, X, **options):
    try:
        model = sklinvariant.load(path, **options)
        _use(model, X)
    except Exception as error:
        if not is_ours(error):
            raise


@functools.cache
def _content(name):
    with tempfile.TemporaryDirectory() as folder:
        sklinvariant.save(_fitted(name)[0], Path(folder, "model"))
        with safe_open(Path(folder, "model"), framework="numpy") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return json.loads(file.metadata()["document"]), tensors, Path(folder, "model").read_bytes()


def _places(node, found):
    """(container, key) of every value in a document."""
    for key in node if isinstance(node, dict) else range(len(node)):
        found.append((node, key))
        if isinstance(node[key], (dict, list)):
            _places(node[key], found)
    return found


HOSTILE = [
    None,
    True,
    -1,
    0,
    3,
    2**31,
    2**63,
    10**30,
    0.5,
    "",
    "x",
    [],
    {},
    {"float": "nan"},
    {"float": "inf"},
    {"float": "x"},
    {"array": "0"},
    {"array": "1"},
    {"array": "99"},
    {"list": [1, 2]},
    {"tuple": []},
    {"dict": [[1, 2]]},
    {"dict": [["a", {"array": "0"}]]},
    {"words": ["a", "b"], "dtype": "object"},
    {"words": ["a"] * 5, "dtype": "<U999999999"},
    {"scalar": 5, "dtype": "int64"},
    {"scalar": 5, "dtype": "V999999999"},
    {"estimator": "VLAD", "params": {}, "fitted": {}},
]
CHANGES = {
    "cut": lambda a: a[: len(a) // 2] if a.ndim else a,
    "empty": lambda a: a[:0] if a.ndim else a,
    "double": lambda a: np.concatenate([a, a]) if a.ndim else a,
    "flat": lambda a: a.ravel(),
    "deeper": lambda a: a[None],
    "turned": lambda a: a.T,
    "integers": lambda a: np.zeros(a.shape, np.int64),
    "bytes": lambda a: np.zeros(a.shape, np.uint8),
    "flags": lambda a: np.ones(a.shape, bool),
    "halves": lambda a: np.zeros(a.shape, np.float16),
    "nan": lambda a: np.full(a.shape, np.nan, np.float32),
    "huge": lambda a: np.full(a.shape, 1e300),
    "negative": lambda a: -np.ones(a.shape, a.dtype) if a.dtype.kind in "fi" else a,
}


@pytest.mark.parametrize("name", MODELS)
def test_crafted_models(name, tmp_path):
    document, tensors, _ = _content(name)
    X = _fitted(name)[1]

    @fuzz(8, data=st.data())
    def run(data):
        changed = copy.deepcopy(document)
        arrays = dict(tensors)
        for _ in range(data.draw(st.integers(1, 2))):
            if arrays and data.draw(st.booleans()):
                key = data.draw(st.sampled_from(sorted(arrays)))
                arrays[key] = np.ascontiguousarray(CHANGES[data.draw(st.sampled_from(sorted(CHANGES)))](arrays[key]))
            else:
                node, key = data.draw(st.sampled_from(_places(changed["estimator"], [])))
                node[key] = data.draw(st.sampled_from(HOSTILE))
        text = json.dumps(changed)
        save_file(arrays, tmp_path / "m", metadata={"document": text, "sha256": _persistence._digest(text, arrays)})
        _check(tmp_path / "m", X, mmap_mode=data.draw(st.sampled_from([None, "r"])))

    run()


def _damaged(data, whole):
    """Truncate or extend a file, or change some of its bytes."""
    kind = data.draw(st.sampled_from(["cut", "more", "flip", "fill"]))
    place = data.draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        return whole[:place]
    if kind == "more":
        return whole + data.draw(st.binary(min_size=1, max_size=20))
    changed = bytearray(whole)
    if kind == "flip":
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        length = data.draw(st.integers(1, 16))
        changed[place : place + length] = data.draw(st.sampled_from([b"\xff", b"\x00", b"9"])) * length
    return bytes(changed)


@pytest.mark.parametrize("name", ["VLAD", "LSHHasher"])
def test_damaged_models(name, tmp_path):
    whole = _content(name)[2]

    @fuzz(60, data=st.data())
    def run(data):
        content = _damaged(data, whole)
        (tmp_path / "m").write_bytes(content)
        if content != whole:
            with pytest.raises(ValueError, match="m "):
                sklinvariant.load(tmp_path / "m")

    run()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("file", ["values.npy", "offsets.npy"])
@pytest.mark.parametrize("release", ["first", "this"])
def test_damaged_sets(tmp_path, mmap_mode, file, release):
    DescriptorSets(np.arange(30.0).reshape(15, 2), [0, 5, 15]).save(tmp_path)
    if release == "first":
        np.save(tmp_path / "values.npy", np.arange(30.0).reshape(15, 2))
    whole = (tmp_path / file).read_bytes()

    @fuzz(40, data=st.data())
    def run(data):
        (tmp_path / file).write_bytes(_damaged(data, whole))
        try:
            bags = DescriptorSets.load(tmp_path, mmap_mode=mmap_mode)
        except ValueError as error:
            if "save the set again" not in str(error):
                raise
        else:
            assert sum(len(bag) for bag in bags) == len(bags.values)

    run()


def test_damaged_checkpoints(tmp_path):
    from skorch.callbacks import Callback

    class Stops(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) > 1:
                raise KeyboardInterrupt

    X, path = np.random.RandomState(0).normal(size=(12, 3)).astype(np.float32), tmp_path / "fit"
    model = IICClusterer(
        2, n_neighbors=2, n_heads=2, max_epochs=2, random_state=0, checkpoint=path, callbacks=[Stops()]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(X)
    whole = path.read_bytes()
    model.set_params(callbacks=None)

    @fuzz(15, data=st.data())
    def run(data):
        content = _damaged(data, whole)
        path.write_bytes(content)
        if content != whole:
            with pytest.raises(ValueError, match=r"checkpoint=.*(damaged|was not changed)"):
                model.fit(X)
            assert path.read_bytes() == content

    run()


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "multihash"])
def test_damaged_indexes(kind):
    """In a separate process, because a damaged index may crash faiss."""
    run = subprocess.run([sys.executable, __file__, kind], capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]


def _damage_indexes(kind):
    rng = np.random.RandomState(0)
    X = rng.randint(2, size=(60, 16)).astype(np.uint8)
    model = HammingNeighbors(3, index=kind, n_jobs=1, random_state=0, n_links=4, recall=0.5).fit(X)
    whole = model.__getstate__()["_state"]["index"].tobytes()

    @fuzz(150, data=st.data())
    def run(data):
        changed = copy.copy(model)
        content = np.frombuffer(_damaged(data, whole), np.uint8)
        changed._state = {**changed._state, "index": content.copy()}
        with tempfile.TemporaryDirectory() as folder:
            sklinvariant.save(changed, Path(folder, "index"))
            try:
                again = HammingNeighbors.load(Path(folder, "index"), mmap_mode=data.draw(st.sampled_from([None, "r"])))
                distances, ids = again.kneighbors(X)
                again.partial_fit(X[:3]).kneighbors(X)
            except Exception as error:
                if not is_ours(error):
                    raise
                return
        assert distances.shape == ids.shape == (60, 3)
        assert (ids >= 0).all()
        assert (ids < 60).all()

    run()


if __name__ == "__main__":
    _damage_indexes(sys.argv[1])
