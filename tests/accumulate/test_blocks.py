"""Blocks of rows: conversion, weights, overlap and caching in memory."""

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant.accumulate import Blocks, _blocks

ROWS = np.arange(24).reshape(12, 2)


@pytest.mark.parametrize("size", [1, 5, 12, 100, None])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "float16", ">f4", "float32", "float64"])
def test_blocks_are_the_rows_in_the_dtype_of_computations(dtype, size):
    blocks = Blocks(ROWS.astype(dtype), size=size)
    parts = list(blocks)
    assert {part.dtype for part in parts} == {torch.float64 if dtype == "float64" else torch.float32}
    assert max(map(len, parts)) == min(size or 12, 12)
    for again in (torch.cat(parts), torch.cat(list(blocks)), blocks.take(slice(None))):
        assert_close(again, ROWS.astype(float))


def test_a_mapped_file_is_read_without_a_copy(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    first = next(iter(Blocks(mapped, size=4)))
    assert first.data_ptr() == mapped.ctypes.data


def test_others_are_read_along():
    weights = torch.arange(12.0)
    for rows, part in Blocks(torch.from_numpy(ROWS), weights, size=5):
        assert_close(rows[:, 0], 2 * part)


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_overlap(size):
    pairs = []
    for rows, own in Blocks(torch.from_numpy(ROWS), torch.arange(11), size=size, overlap=1):
        assert len(own) == len(rows) - 1
        pairs += torch.stack([rows[:-1, 0], rows[1:, 0]], 1).tolist()
    assert pairs == [[i, i + 2] for i in range(0, 22, 2)]


def test_functions_are_applied_to_what_is_read():
    blocks = Blocks(ROWS, size=5).map(lambda rows: rows / 2).map(lambda rows: rows.sum(1, keepdim=True))
    expected = ROWS.sum(1, keepdims=True) / 2
    assert blocks.shape == (12, 1)
    for same in (blocks, blocks.held(), blocks.of_size(3), blocks.double()):
        assert_close(torch.cat(list(same)), expected)
    assert_close(blocks.take(torch.tensor([7, 0, 7])), expected[[7, 0, 7]])
    assert next(iter(blocks.double())).dtype == torch.float64


def test_what_is_held_is_read_once(monkeypatch):
    read = []
    blocks = Blocks(ROWS, size=5).map(lambda rows: read.append(len(rows)) or rows)
    held = blocks.held()
    read.clear()
    assert_close(torch.cat(list(held)), ROWS.astype(float))
    assert read == []
    monkeypatch.setattr(_blocks, "HELD_BYTES", 90)  # the rows take 96
    torch.cat(list(blocks.held()))
    assert sum(read) >= 12


def test_rows_that_need_no_conversion_are_not_copied():
    blocks = Blocks(torch.zeros(3, 2))
    assert blocks.held() is blocks
