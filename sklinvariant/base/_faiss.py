"""faiss, an optional library for search, and the number of its threads."""

import contextlib
from collections.abc import Iterator
from typing import Any

from sklinvariant.base._extras import need_extra
from sklinvariant.base._parameters import n_threads


def import_faiss(user: str = "HammingNeighbors") -> Any:
    """The faiss module. If it is missing, raises an ImportError that names its ``user`` and the extra."""
    return need_extra("faiss", user, "faiss")


@contextlib.contextmanager
def faiss_threads(n_jobs: int | None) -> Iterator[None]:
    """Compute with ``n_jobs`` threads, at most one per core. None keeps faiss's own setting, which is one per core.

    The limit is needed because OpenMP ends the process if it cannot start the requested number of threads.
    """
    if n_jobs is None:
        yield
        return
    threads, faiss = n_threads(n_jobs), import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
