"""The methods ``save`` and ``load`` of all indexes."""

import os
from typing import Literal, Self

from sklinvariant.base import load, save


class SavedIndex:
    """An index that can be written to a file and read again."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a file, atomically: see `sklinvariant.save`."""
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None = None) -> Self:
        """Read an index written by `save`: see `sklinvariant.load`.

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
