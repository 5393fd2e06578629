"""Images in files, which are read when they are used."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from sklinvariant.images._pixels import IMAGE_SUFFIXES, read_image

_READERS = 4  # threads that decode files


class ImageFiles(Sequence):
    """RGB images (h, w, 3) of uint8 that are read each time they are used.

    ``sources`` are names of files, bytes of files, or one folder.
    """

    def __init__(self, sources: Sequence[str | bytes]) -> None:
        is_folder = len(sources) == 1 and isinstance(sources[0], str) and os.path.isdir(sources[0])
        self.sources = _files_of(sources[0]) if is_folder else list(sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first = index.indices(len(self))[0]
            with ThreadPoolExecutor(_READERS) as readers:
                return list(readers.map(_read, self.sources[index], range(first, first + len(self))))
        return _read(self.sources[index], index)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (image for start in range(0, len(self), 64) for image in self[start : start + 64])


def _read(source, row):
    try:
        return torch.from_numpy(read_image(source))
    except ValueError as error:
        raise ValueError(f"image {row}: {error}") from error


def _files_of(folder):
    files = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(
            f"the folder {os.fspath(folder)!r} contains no images. Files that end in one of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))} are read. Pass another folder"
        )
    return files
