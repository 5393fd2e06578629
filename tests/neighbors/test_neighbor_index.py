"""Indexes in files: every index has the methods save and load."""

import numpy as np
import pytest

from sklinvariant.neighbors import EmbeddingNeighbors, HammingNeighbors, QuantizedNeighbors

pytest.importorskip("faiss", reason="faiss is not installed")

X = np.random.RandomState(0).normal(size=(300, 16))
INDEXES = [
    (HammingNeighbors(3), (X > 0).astype(np.uint8)),
    (EmbeddingNeighbors(3, random_state=0), X),
    (QuantizedNeighbors(3, random_state=0), X),
]


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize(("index", "rows"), INDEXES, ids=lambda item: type(item).__name__)
def test_a_loaded_index_finds_the_same(index, rows, mmap_mode, tmp_path):
    index.fit(rows, ids=np.arange(300) * 2).remove([0, 4])
    index.save(tmp_path / "index")
    again = type(index).load(tmp_path / "index", mmap_mode=mmap_mode)
    for found, expected in zip(again.kneighbors(rows[:5]), index.kneighbors(rows[:5]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_index_of_another_class_is_refused(tmp_path):
    QuantizedNeighbors(random_state=0).fit(X).save(tmp_path / "index")
    with pytest.raises(ValueError, match="contains a QuantizedNeighbors, but EmbeddingNeighbors is required"):
        EmbeddingNeighbors.load(tmp_path / "index")
