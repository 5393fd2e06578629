"""NeighborIndex: what the indexes of codes and of vectors share."""

import os
from typing import Any, Literal, Self

from sklinvariant.base import is_count, load, save


class NeighborIndex:
    """An index that finds k neighbours, and can be written to a file and read again."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index, its parameters and fitted attributes, to a file.

        Parameters
        ----------
        path : str or path-like
            The file to write. An existing file is replaced atomically.
        """
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None = None) -> Self:
        """Read an index that `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.
        mmap_mode : {"r", None}, default=None
            "r" memory-maps codes, vectors, ids and index, so that searches read only what they need (the tables of
            "multihash" are always read). The contents are then not checked against the checksum of the file.

        Returns
        -------
        index
            The index, of this class.

        Raises
        ------
        ValueError
            If the file is damaged, or contains an estimator of another class.
        """
        loaded = load(path, mmap_mode=mmap_mode)
        if not isinstance(loaded, cls):
            raise ValueError(
                f"{path} contains a {type(loaded).__name__}, but {cls.__name__} is required. Use sklinvariant.load."
            )
        return loaded

    def _check_k(self: Any, n_neighbors: int | None, itself: Any) -> int:
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        if not is_count(k):
            raise ValueError(f"n_neighbors={k!r} is not valid. Pass an integer of at least 1.")
        n, sign = self.n_samples_fit_, "<=" if itself is None else "<"
        if k > n - (itself is not None):
            raise ValueError(f"Expected n_neighbors {sign} n_samples_fit, but n_neighbors = {k}, n_samples_fit = {n}")
        return int(k)
