"""The number of threads of faiss."""

import pytest

from sklinvariant.base import faiss_threads, import_faiss

pytest.importorskip("faiss")


def test_threads_are_set_inside_the_context_alone():
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    with faiss_threads(1):
        assert faiss.omp_get_max_threads() == 1
    assert faiss.omp_get_max_threads() == before
    with faiss_threads(None):
        assert faiss.omp_get_max_threads() == before
