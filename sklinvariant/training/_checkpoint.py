"""A file from which an interrupted fit can be resumed."""

import contextlib
import hashlib
import io
import os
import re
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklinvariant._distributed import current_processes
from sklinvariant._warnings import warn
from sklinvariant.base import replacing

# parameters that may change when a fit is resumed, because the model does not depend on them
_FREE = {"checkpoint", "callbacks", "verbose"}


_MAGIC = b"sklinvariant checkpoint"  # the first line: this, the id of the writing fit, and a checksum of the rest
_ENTRIES = {"module": dict, "optimizer": dict, "generator": torch.Tensor, "history": list, "best": float, "waited": int}
_ROW = ("train_loss", "dur")


class Checkpoint:
    """The state of a fit after its last finished epoch, in a file that exists until the fit is finished.

    The file identifies its fit: the estimator, its parameters, checksums of the training tensors (``data``, lists of
    tensors by name), and the number of epochs of the model ``before`` the fit. Other fits reject the file. A file that
    is not a checkpoint, or that another fit has written in the meantime, is never changed. If several processes train
    the model, process 0 reads and writes the file, and their number may change between interruption and resumption.
    """

    def __init__(
        self, path: str | os.PathLike, estimator: Any, data: dict[str, list[torch.Tensor]], *, before: int
    ) -> None:
        self.path, self.before = Path(path), before
        self.name = f"checkpoint={str(self.path)!r}"
        self.writers = {uuid.uuid4().hex}  # fits whose files may be replaced: this fit, and the one that it resumes
        self.writer = next(iter(self.writers))
        self.is_warned = False
        parameters = estimator.get_params(deep=False)
        self.fit = {
            "estimator": type(estimator).__name__,
            **{name: _described(value) for name, value in parameters.items() if name not in _FREE},
            **{name: " ".join(map(_checksum, tensors)) for name, tensors in data.items()},
        }

    def read(self) -> dict[str, Any] | None:
        """The content that the same fit wrote before it was interrupted; None if the file does not exist.

        The content replaces the current model, which may be the one from before that fit, or the one that the
        interrupted fit kept.
        """
        processes = current_processes()
        found = self._read() if processes is None else processes.of_first(self._read)
        if found is None:
            return None
        writer, self.before, content = found
        self.writers.add(writer)
        return content

    def _read(self):
        """The writer of the file, the number of epochs before its fit, and its content; None if there is no file."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(f"{self.name} cannot be used ({error}). Pass another file") from error
        writer, content = self._parse(data)
        fit, before, done = content.pop("fit"), content.pop("before"), len(content["history"])
        changed = sorted(name for name in self.fit if fit.get(name) != self.fit[name])
        if changed:
            raise ValueError(
                f"{self.name} belongs to a fit with different {', '.join(changed)}. Delete the file to start "
                "again, or pass another file if the other fit is still running or should be resumed"
            )
        # if writing was interrupted, the model is one epoch ahead of the file
        if not before <= self.before <= before + done + 1:
            raise ValueError(
                f"{self.name} belongs to a fit from epoch {before} to epoch {before + done}, but this model has been "
                f"trained for {self.before} epochs. Delete the file, or pass another one"
            )
        return writer, before, content

    def _parse(self, data):
        """The writer of a file, and its content. Raises a ValueError if it is not a complete checkpoint."""
        head, _, body = data.partition(b"\n")
        is_old = data.startswith(b"PK\x03\x04")  # checkpoints of sklinvariant 0.1, and all zip files
        if not is_old and not head.startswith(_MAGIC):
            raise ValueError(f"{self.name} is not a checkpoint and was not changed. Pass another file")
        damaged = f"{self.name} is damaged. Delete it to start again"
        if is_old:
            head, body = b"", data
            damaged = f"{self.name} is not a complete checkpoint and was not changed. Pass another file"
        elif head != self._head(head.split()[2:3], body):
            raise ValueError(damaged)
        try:
            content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
            whole = all(isinstance(content[name], kind) for name, kind in _ENTRIES.items())
            whole = whole and isinstance(content["fit"], dict) and isinstance(content["before"], int)
            whole = whole and all(isinstance(row[key], float) for row in content["history"] for key in _ROW)
        except Exception as error:  # torch.load raises almost any error for damaged files
            raise ValueError(f"{damaged} ({error})") from error
        if not whole:
            raise ValueError(damaged)
        return _writer_of(head), content

    @staticmethod
    def _head(writer, body):
        return b" ".join([_MAGIC, *writer, hashlib.sha256(body).hexdigest().encode()])

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Inside the context, the content is loaded into a network and an optimiser, which may not match it."""
        try:
            yield
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.name} does not match this model ({error}). Delete it to start again") from error

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file atomically. If this fails, warn and let the fit continue."""
        if not _is_writer():
            return
        stream = io.BytesIO()
        torch.save({"fit": self.fit, "before": self.before, **content}, stream)
        body = stream.getvalue()
        try:
            if not self._is_ours():
                self._warn("is now used by another fit and is no longer written")
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as file:
                file.write(self._head([self.writer.encode()], body) + b"\n")
                file.write(body)
        except OSError as error:  # such as a full disk or a lost network drive, which may be temporary
            self._warn(f"could not be written after epoch {self.before + len(content['history'])} ({error})")

    def remove(self) -> None:
        if not _is_writer():
            return
        with contextlib.suppress(OSError):  # the fit is finished, and an error would discard its model
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _is_ours(self):
        """Whether the file does not exist, or may be replaced by this fit."""
        try:
            with open(self.path, "rb") as file:
                head = file.read(200).partition(b"\n")[0]
        except FileNotFoundError:
            return True
        return _writer_of(head) in self.writers

    def _warn(self, what):
        if not self.is_warned:
            self.is_warned = True
            warn(
                f"{self.name} {what}. The fit continues, but after an interruption it may have to start again",
                RuntimeWarning,
            )


def _is_writer():
    """Whether this process writes the file."""
    processes = current_processes()
    return processes is None or processes.rank == 0


def _writer_of(head):
    """The writer named in the first line of a checkpoint; "" for checkpoints of sklinvariant 0.1, which name none."""
    parts = head.split()
    return parts[2].decode("ascii", "replace") if head.startswith(_MAGIC) and len(parts) == 4 else ""


def _described(value):
    weights = value.state_dict().values() if isinstance(value, torch.nn.Module) else ()
    return " ".join([re.sub(r" at 0x[0-9a-f]+", "", repr(value)), *map(_checksum, weights)])


def _checksum(values):
    values = values.detach().float() if values.dtype == torch.bfloat16 else values.detach()
    numbers: Any = np.ascontiguousarray(values.cpu().numpy())
    return f"{tuple(values.shape)} {zlib.crc32(numbers)}"
