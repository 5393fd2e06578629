"""Atomic replacement of files."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import IO, Any


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise an OSError if no file can be written to a path, because it is a folder or its folder does not exist."""
    path = os.fsdecode(path)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder, but the name of a file is required. Add a file name to it.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path} cannot be written, because there is no folder {folder}. Create it first.")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", **settings: Any) -> Iterator[IO[Any]]:
    """Open a temporary file in the folder of ``path`` that replaces it at the end of the context.

    After an error, a full disk or an interruption, the old file is unchanged and the temporary file is removed. Arrays
    that are memory-mapped from the old file stay valid. A symbolic link is replaced, not followed.
    """
    check_place(path)
    # in the same folder, so that the replacement is atomic; with `open`, so that the mode follows the umask
    temporary = f"{os.fsdecode(path)}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, mode.replace("w", "x"), **settings) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise a power failure could leave an empty file
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:  # such as a full disk
            raise OSError(error.errno, f"{error.strerror}, so the file was not written", os.fsdecode(path)) from error
        raise
