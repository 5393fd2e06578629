"""Stored vectors: rounding, files and their growth."""

import numpy as np
import pandas as pd
import pytest
from tolerance import assert_close

from sklinvariant.neighbors._vectors import _vector_store
from sklinvariant.neighbors._vectors._vector_store import (
    Precision,
    append_rows,
    check_replaceable,
    keep_rows,
    open_rows,
    write_rows,
)

X = np.random.RandomState(0).normal(size=(40, 6)).astype(np.float32) * np.float32([1, 10, 0.1, 3, 1, 1])


@pytest.mark.parametrize(("name", "relative"), [("float32", 2**-24), ("float16", 2**-11), ("int8", 1 / 508)])
def test_rounding_is_within_half_a_step(name, relative):
    precision = Precision.of(name, X)
    error = np.abs(precision.decode(precision.encode(X)) - X)
    largest = np.ptp(X, axis=0) if name == "int8" else np.abs(X).max(0)
    assert (error <= 1.001 * relative * largest).all()
    assert precision.encode(X).dtype == name


def test_int8_stores_a_constant_feature_and_clips_later_values():
    constant = np.full((5, 2), 7.0)
    assert_close(Precision.of("int8", constant).decode(Precision.of("int8", constant).encode(constant)), constant)
    precision = Precision.of("int8", np.float32([[-1], [1]]))
    assert_close(precision.decode(precision.encode(np.float32([[-5], [0], [5]]))), np.float64([[-1], [0], [1]]))


@pytest.mark.parametrize(("name", "large"), [("float32", 1e18), ("float16", 1e4), ("float16", 1e7), ("int8", 1e4)])
def test_a_large_row_does_not_take_the_precision_of_the_others(name, large):
    rows = np.tile(X, (50, 1)).astype(np.float64)
    expected = np.linalg.norm(rows - rows[0], axis=1)
    outlier = np.concatenate([rows, np.full((1, 6), large)])
    precision = Precision.of(name, outlier)
    distances = precision.distances(rows[0], precision.encode(outlier))
    assert_close(distances[:-1], expected, atol=0.02 * expected.max())
    if name != "int8":  # clips the large row
        assert_close(distances[-1], np.linalg.norm(outlier[-1] - rows[0]), rtol=1e-3)


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_a_feature_that_is_rarely_on_is_stored(name):
    rare = np.zeros((3000, 2))
    rare[5, 0] = rare[7, 1] = 100
    precision = Precision.of(name, rare)
    assert_close(precision.decode(precision.encode(rare)), rare, atol=1e-6)


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
@pytest.mark.parametrize(("scale", "shift"), [(1e300, 0), (1e-290, 0), (1, 1e7)])
def test_distances_do_not_depend_on_scale_and_shift(name, scale, shift):
    moved = X.astype(np.float64) * scale + shift
    precision, plain = Precision.of(name, moved), Precision.of(name, X)
    expected = plain.distances(X[0], plain.encode(X))
    assert_close(precision.distances(moved[0], precision.encode(moved)), expected * scale, rtol=1e-3)
    assert_close(precision.decode(precision.encode(moved)) - shift, plain.decode(plain.encode(X)) * scale, rtol=1e-3)


def test_distances_are_those_of_the_rounded_rows():
    precision = Precision.of("int8", X)
    stored = precision.encode(X)
    assert_close(precision.distances(X[3], stored), np.linalg.norm(precision.decode(stored) - X[3], axis=1), rtol=1e-5)


def test_later_rows_that_float16_cannot_hold_are_refused():
    with pytest.raises(ValueError, match=r"up to 1e\+09, which are too large for float16"):
        Precision.of("float16", X).encode(np.full((1, 6), 1e9))


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_a_file_is_a_numpy_array_that_grows(tmp_path, name):
    precision, path = Precision.of(name, X), tmp_path / "vectors.npy"
    write_rows(path, X[:9], precision)
    for first in range(9, 40):  # to numbers of rows with more digits
        append_rows(path, first, X[first : first + 1], precision)
    np.testing.assert_array_equal(np.load(path), precision.encode(X))
    np.testing.assert_array_equal(open_rows(path, 40, 6, precision.dtype), precision.encode(X))


def test_rows_of_an_interrupted_addition_are_overwritten(tmp_path):
    precision, path = Precision.of("float32", X), tmp_path / "vectors.npy"
    write_rows(path, X[:30], precision)
    append_rows(path, 20, X[30:], precision)
    np.testing.assert_array_equal(
        open_rows(path, 30, 6, precision.dtype), precision.encode(np.concatenate([X[:20], X[30:]]))
    )


@pytest.mark.parametrize("other", [X[:5], X[:, :5], X.astype(np.float64), np.asfortranarray(X), X[0]])
def test_a_file_of_other_vectors_is_refused(tmp_path, other):
    np.save(tmp_path / "vectors.npy", other)
    with pytest.raises(ValueError, match=r"but float32 of shape \(40, 6\) was stored there"):
        open_rows(tmp_path / "vectors.npy", 40, 6, np.dtype("float32"))


def test_some_rows_are_kept_block_by_block(tmp_path, monkeypatch):
    path, rows = tmp_path / "rows.npy", np.random.RandomState(0).normal(size=(50, 3)).astype(np.float32)
    np.save(path, rows)
    monkeypatch.setattr(_vector_store, "_BLOCK_BYTES", 40)
    kept = np.flatnonzero(np.arange(50) % 7)
    keep_rows(path, np.load(path, mmap_mode="r"), kept)
    np.testing.assert_array_equal(np.load(path), rows[kept])


@pytest.mark.parametrize("change", ["written", "added to", "removed from"])
def test_a_file_that_was_written_here_is_replaceable(tmp_path, change):
    precision, path = Precision.of("int8", X), tmp_path / "rows.npy"
    write_rows(path, X[:9], precision)
    if change == "added to":
        append_rows(path, 9, X[9:], precision)
    if change == "removed from":
        keep_rows(path, np.load(path, mmap_mode="r"), np.array([0, 3]))
    check_replaceable(path, X)


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_other_files_are_not_replaceable(tmp_path, name):
    path = tmp_path / "rows.npy"
    write_rows(path, X, Precision.of(name, X))
    np.save(path, np.load(path))  # the same rows
    with pytest.raises(FileExistsError, match=r"exists, but only a file that .* written is replaced\. Pass the name"):
        check_replaceable(path, X)
    path.write_bytes(b"")
    with pytest.raises(FileExistsError, match="exists, but only a file"):
        check_replaceable(path, X)


@pytest.mark.parametrize(
    "view",
    [lambda X: X, np.asarray, lambda X: X[2:, ::2].T, lambda X: X.reshape(-1), lambda X: pd.DataFrame(X, copy=False)],
    ids=range(5),
)
def test_a_file_from_which_x_is_mapped_is_not_replaceable(tmp_path, view):
    path = tmp_path / "rows.npy"
    write_rows(path, X, Precision.of("float32", X))
    with pytest.raises(ValueError, match=r"is the file from which X is memory-mapped.*Pass the name of another file"):
        check_replaceable(path, view(np.load(path, mmap_mode="r")))
