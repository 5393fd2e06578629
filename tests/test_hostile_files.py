"""Crafted files are refused with a clear error before memory is allocated or faiss reads them."""

import copy
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from examples import with_state
from safetensors import safe_open
from safetensors.numpy import save_file

import sklinvariant
from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords
from sklinvariant.base import _persistence as _persistence
from sklinvariant.neighbors import HammingNeighbors


@pytest.fixture(scope="module")
def words():
    return BagOfWords(3, random_state=0).fit(np.random.RandomState(0).normal(size=(5, 8, 4)))


def _craft(path, change, source):
    """Write ``source`` with a modified document and a matching digest, which an attacker can compute as well."""
    sklinvariant.save(source, path)
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = json.loads(file.metadata()["document"])
    change(document["estimator"])
    text = json.dumps(document).replace('"DEEP"', '{"list": [' * 20_000 + "]}" * 20_000)
    save_file(tensors, path, metadata={"document": text, "sha256": _persistence._digest(text, tensors)})
    return path


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize(
    "changes",
    [
        {"codes": np.zeros((50, 64), np.uint8)},
        {"codes": np.zeros((50, 1), np.uint8)},
        {"codes": np.zeros((50, 2), np.int64)},
        {"codes": np.zeros(100, np.uint8)},
        {"codes": None},
        {"ids": np.zeros(3, np.int64)},
        {"ids": np.zeros(50, np.float64)},
        {"removed": np.zeros(3, bool)},
        {"removed": np.zeros(50, np.int64)},
        {"kind": "flat"},
        {"kind": "hnsw"},
        {"effort": 1 << 62},
        {"n_built": -1},
        {"next_id": "many"},
    ],
    ids=repr,
)
def test_indexes(tmp_path, changes, mmap_mode):
    model = HammingNeighbors().fit(np.random.RandomState(0).randint(2, size=(50, 16)))
    sklinvariant.save(with_state(model, **changes), tmp_path / "index")
    with pytest.raises(ValueError, match=rf"index contains no model that.*{next(iter(changes))[:5]}"):
        HammingNeighbors.load(tmp_path / "index", mmap_mode=mmap_mode)


def test_codes_too_wide_for_the_queries(tmp_path):
    """Such indexes made faiss read beyond the end of the queries."""
    model = HammingNeighbors().fit(np.random.RandomState(0).randint(2, size=(50, 16)))
    sklinvariant.save(with_state(model, codes=np.zeros((20_000, 4096), np.uint8)), tmp_path / "index")
    code = (
        "import sys, numpy as np; from sklinvariant.neighbors import HammingNeighbors\n"
        "try: HammingNeighbors.load(sys.argv[1]).radius_neighbors(np.zeros((1, 16)), radius=16)\n"
        "except ValueError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "index"], capture_output=True, text=True, check=True)
    assert "codes should have 2 bytes, got 4096" in run.stdout


def _long_words(entry):
    entry["fitted"]["feature_names_in_"] = {"words": ["a"] * 10, "dtype": "<U100000000"}


def _long_scalar(entry):
    entry["params"]["gamma"] = {"scalar": 1, "dtype": "V2000000000"}


def _too_large_scalar(entry):
    entry["fitted"]["n_iter_"] = {"scalar": 10**30, "dtype": "int64"}


def _infinite_whole(entry):
    entry["fitted"]["n_iter_"] = {"scalar": {"float": "inf"}, "dtype": "int64"}


def _deep(entry):
    entry["fitted"]["n_iter_"] = "DEEP"


def _no_name(entry):
    entry["fitted"]["_state"] = {"dict": [[{"list": []}, 1]]}


@pytest.mark.parametrize(
    "change", [_long_words, _long_scalar, _too_large_scalar, _infinite_whole, _deep, _no_name], ids=lambda f: f.__name__
)
def test_documents_that_cost_much_or_overflow(tmp_path, words, change):
    path = _craft(tmp_path / "model", change, words)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="contains no model"):
            sklinvariant.load(path)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_many_long_words_share_one_allowance(tmp_path, words):
    def change(entry):
        for i in range(100):
            entry["fitted"][f"a{i}_"] = {"words": ["a"], "dtype": "<U1000000"}

    with pytest.raises(ValueError, match="not strings of dtype"):
        sklinvariant.load(_craft(tmp_path / "model", change, words))


def test_parameters_are_checked(tmp_path, words):
    def change(entry):
        entry["params"]["n_codewords"] = -3

    with pytest.raises(ValueError, match="n_codewords"):
        sklinvariant.load(_craft(tmp_path / "model", change, words))


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "multihash"])
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_indexes_of_other_codes_and_no_indexes(tmp_path, kind, mmap_mode):
    """The bytes of the faiss index belong to other codes."""
    rng = np.random.RandomState(0)
    model = HammingNeighbors(index=kind, n_jobs=1, random_state=0).fit(rng.randint(2, size=(300, 32)))
    narrow = HammingNeighbors(index=kind, n_jobs=1, random_state=0).fit(rng.randint(2, size=(300, 16)))
    other = HammingNeighbors(index="hnsw" if kind == "ivf" else "ivf", n_jobs=1).fit(rng.randint(2, size=(300, 32)))
    queries = rng.randint(2, size=(5, 32))
    expected = np.sort(model.kneighbors(queries)[0])
    for bytes_of in (narrow, other, None):
        data = np.zeros(1000, np.uint8) if bytes_of is None else bytes_of.__getstate__()["_state"]["index"]
        changed = copy.copy(model)
        changed._state = {**model._state, "index": data}
        sklinvariant.save(changed, tmp_path / "index")
        again = HammingNeighbors.load(tmp_path / "index", mmap_mode=mmap_mode)
        if kind == "multihash":  # its tables are made anew from the codes
            np.testing.assert_array_equal(np.sort(again.kneighbors(queries)[0]), expected)
        else:
            with pytest.raises(ValueError, match=f"index '{kind}' of this HammingNeighbors is damaged"):
                again.kneighbors(queries)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_sets(tmp_path, mmap_mode):
    DescriptorSets(np.zeros((15, 2)), [0, 5, 15]).save(tmp_path / "bags")
    values = tmp_path / "bags" / "values.npy"
    whole = values.read_bytes()
    head = whole[:128]
    huge = head.replace(b"(15, 2), }", b"(10**12, 2), }"[:10] + b"")
    for content, message in (
        (head.replace(b"(15, 2)", b"(9999999999999, 2)").replace(b" " * 11, b"", 1) + whole[128:], "is incomplete"),
        (whole[:200], "is incomplete"),
        (whole[:50], "cannot be read as an array"),
        (b"", "cannot be read as an array"),
        (b"\x93NUMPY\x09\x00" + whole[8:], "cannot be read as an array"),
        (huge.replace(b"<f8", b"|O "), "."),
        (whole[:-8], "is incomplete"),
        (whole[:-8] + (99).to_bytes(8, "little"), "offsets must be non-decreasing"),
    ):
        values.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            DescriptorSets.load(tmp_path / "bags", mmap_mode=mmap_mode)
