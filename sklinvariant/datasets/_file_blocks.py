"""Arrays in many files, as blocks that are read one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sklinvariant.base import Count, need_extra, validated
from sklinvariant.images import IMAGE_SUFFIXES, read_image

_SUFFIXES = {".npy", ".parquet"}


class FileBlocks:
    """The rows of files in blocks, which can be read several times. See `read_blocks`."""

    def __init__(self, files: list[Path], block_size: int, columns: Sequence[str] | None) -> None:
        self.files, self.block_size, self.columns = files, block_size, columns

    def __iter__(self) -> Iterator[Any]:
        if _is_image(self.files[0]):
            yield from self._image_blocks()
            return
        for file in self.files:
            try:
                yield from self._array_blocks(file) if file.suffix == ".npy" else self._table_blocks(file)
            except Exception as error:
                error.add_note(f"{file} was being read")
                raise

    def __repr__(self) -> str:
        return f"<blocks of at most {self.block_size} rows of {len(self.files)} file(s), from {self.files[0]}>"

    def _image_blocks(self):
        for start in range(0, len(self.files), self.block_size):
            images = [read_image(file) for file in self.files[start : start + self.block_size]]
            yield np.stack(images) if len({image.shape for image in images}) == 1 else images

    def _array_blocks(self, file):
        array = np.load(file, mmap_mode="r")
        if array.ndim < 2:
            raise ValueError(f"{file} has shape {array.shape}, but rows (n, d) or bags (n, m, d) are required")
        for start in range(0, len(array), self.block_size):
            yield array[start : start + self.block_size]

    def _table_blocks(self, file):
        parquet = need_extra("pyarrow.parquet", f"reading {file}", "parquet")
        columns = None if self.columns is None else list(self.columns)
        with parquet.ParquetFile(file) as table:
            missing = set(columns or ()) - set(table.schema_arrow.names)
            if missing:
                raise ValueError(f"{file} has no columns {sorted(missing)}, only {table.schema_arrow.names}")
            for batch in table.iter_batches(self.block_size, columns=columns):
                yield _rows_of([column.to_numpy(zero_copy_only=False) for column in batch.columns])


def _is_image(file):
    return file.suffix.lower() in IMAGE_SUFFIXES


def _files_of(folder):
    """The files of a folder that can be read: arrays and tables in it, or images also in the folders within it."""
    arrays = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES)
    return arrays or sorted(file for file in folder.rglob("*") if _is_image(file))


def _rows_of(columns):
    """Numbers (n, d) of d columns, or of one column of vectors."""
    if len(columns) == 1 and columns[0].dtype == object and len(columns[0]):
        return np.stack(columns[0])
    return np.column_stack(columns)


@validated
def read_blocks(
    files: Any,
    *,
    block_size: Count = 10_000,
    columns: list | tuple | None = None,
) -> Any:
    """Read ``.npy`` and Parquet files or images in blocks, for `fit` with an iterable and for `partial_fit`.

    Parameters
    ----------
    files : path or list of paths
        A file, a list of files, or a folder, whose ``.npy`` and ``.parquet`` files are read in order of their names.
        Arrays are rows (n, d) or bags (n, m, d), and are memory-mapped. Parquet files require pyarrow. If a folder has
        no such files, the images in it and in the folders within it are read. Images require OpenCV.
    block_size : int, default=10000
        Maximum number of rows, bags or images in a block.
    columns : list of str or None, default=None
        Names of the columns of Parquet files: columns of numbers, or one column of vectors of equal length. None reads
        all columns.

    Returns
    -------
    iterable of arrays
        The blocks. They can be read several times. A block of images is an array (n, h, w, 3) of uint8, or a list of
        arrays (h, w, 3) if they differ in size.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If there are no files, if a file is of another kind, or if there are images and other files. When the blocks
        are read, also if an image cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklinvariant import PCAHasher
    >>> from sklinvariant.datasets import read_blocks
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(3):
    ...         np.save(Path(folder) / f"part{i}.npy", np.random.default_rng(i).normal(size=(500, 16)))
    ...     hasher = PCAHasher(8).fit(read_blocks(folder, block_size=200))
    >>> hasher.n_features_in_
    16
    """
    given = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    found: list[Path] = []
    for path in map(Path, given):
        found += _files_of(path) if path.is_dir() else [path]
    if not found:
        raise ValueError(
            f"files={files!r} contains no .npy or .parquet files and no images. Pass a folder that does, or their names"
        )
    for file in found:
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist")
        if file.suffix not in _SUFFIXES and not _is_image(file):
            raise ValueError(
                f"{file} is neither a .npy nor a .parquet file, nor an image. Convert it, or pass a generator of arrays"
            )
    if len(set(map(_is_image, found))) == 2:
        raise ValueError(f"files={files!r} contains images and other files. Read them apart")
    return FileBlocks(found, block_size, columns)
