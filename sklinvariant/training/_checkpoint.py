"""A file from which an interrupted fit goes on."""

import contextlib
import hashlib
import io
import re
import uuid
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sklinvariant.base import replacing

# what a fit may be gone on with under another value of, since the model does not depend on it
_FREE = {"checkpoint", "callbacks", "verbose"}


_MAGIC = b"sklinvariant checkpoint"  # the first line: this, who wrote the file, and a checksum of the rest
_ENTRIES = {"module": dict, "optimizer": dict, "generator": torch.Tensor, "history": list, "best": float, "waited": int}
_ROW = ("train_loss", "dur")


class Checkpoint:
    """What a fit needs to go on after its last finished epoch, in a file that is there while the fit is not finished.

    The file says which fit it is of: the estimator, its parameters, checksums of the tensors that it learns from
    (``data``, lists of them by name), and how many epochs the model had made ``before``. Other fits refuse it. A file
    that is not a checkpoint, or that another fit has written since, is never touched.
    """

    def __init__(self, path, estimator, data, *, before):
        self.path, self.before = Path(path), before
        self.name = f"checkpoint={str(self.path)!r}"
        self.writers = {uuid.uuid4().hex}  # of files that may be replaced: this fit, and the one it goes on from
        self.writer = next(iter(self.writers))
        self.is_warned = False
        parameters = estimator.get_params(deep=False)
        self.fit = {
            "estimator": type(estimator).__name__,
            **{name: _described(value) for name, value in parameters.items() if name not in _FREE},
            **{name: " ".join(map(_checksum, tensors)) for name, tensors in data.items()},
        }

    def read(self):
        """What was written by this very fit; None where there is no file.

        The model may be as it was before that fit, or as the fit left it when it was interrupted: what is read
        replaces it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(f"{self.name} cannot be used ({error}); name another file") from error
        writer, content = self._parse(data)
        fit, before, done = content.pop("fit"), content.pop("before"), len(content["history"])
        changed = sorted(name for name in self.fit if fit.get(name) != self.fit[name])
        if changed:
            raise ValueError(
                f"{self.name} is of a fit with other {', '.join(changed)}; delete it to begin anew, or name another "
                "file if that fit is running or is to go on"
            )
        # where writing was interrupted, the model has made an epoch more
        if not before <= self.before <= before + done + 1:
            raise ValueError(
                f"{self.name} is of a fit that began after {before} epochs, and went on to {before + done}; this "
                f"model has made {self.before}. Delete it, or name another file"
            )
        self.before = before
        self.writers.add(writer)
        return content

    def _parse(self, data):
        """Who wrote a file, and its content; ValueError where it is not a whole checkpoint."""
        head, _, body = data.partition(b"\n")
        is_old = data.startswith(b"PK\x03\x04")  # as sklinvariant 0.1 wrote it, and as all zip files begin
        if not is_old and not head.startswith(_MAGIC):
            raise ValueError(f"{self.name} is not a checkpoint, and is left as it is; name another file")
        damaged = f"{self.name} is damaged; delete it to begin anew"
        if is_old:
            head, body = b"", data
            damaged = f"{self.name} is not a whole checkpoint, and is left as it is; name another file"
        elif head != self._head(head.split()[2:3], body):
            raise ValueError(damaged)
        try:
            content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
            whole = all(isinstance(content[name], kind) for name, kind in _ENTRIES.items())
            whole = whole and isinstance(content["fit"], dict) and isinstance(content["before"], int)
            whole = whole and all(isinstance(row[key], float) for row in content["history"] for key in _ROW)
        except Exception as error:  # torch.load raises nearly everything on damaged files
            raise ValueError(f"{damaged} ({error})") from error
        if not whole:
            raise ValueError(damaged)
        return _writer_of(head), content

    @staticmethod
    def _head(writer, body):
        return b" ".join([_MAGIC, *writer, hashlib.sha256(body).hexdigest().encode()])

    @contextlib.contextmanager
    def restoring(self):
        """What was read is being given to a network and an optimiser, which may be others than it is of."""
        try:
            yield
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.name} does not fit this model; delete it to begin anew ({error})") from error

    def write(self, content):
        """Replace the file as a whole; a fit goes on, with a warning, where that cannot be done."""
        stream = io.BytesIO()
        torch.save({"fit": self.fit, "before": self.before, **content}, stream)
        body = stream.getvalue()
        try:
            if not self._is_ours():
                self._warn("is now written by another fit, which it is left to")
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as file:
                file.write(self._head([self.writer.encode()], body) + b"\n")
                file.write(body)
        except OSError as error:  # a full disk, a network drive that is gone: the fit may outlast it
            self._warn(f"could not be written after epoch {self.before + len(content['history'])} ({error})")

    def remove(self):
        with contextlib.suppress(OSError):  # the fit is done, and its model must not be lost for a file
            if self._is_ours():
                self.path.unlink(missing_ok=True)

    def _is_ours(self):
        """Whether there is no file, or one that this fit may replace."""
        try:
            with open(self.path, "rb") as file:
                head = file.read(200).partition(b"\n")[0]
        except FileNotFoundError:
            return True
        return _writer_of(head) in self.writers

    def _warn(self, what):
        if not self.is_warned:
            self.is_warned = True
            warnings.warn(
                f"{self.name} {what}. The fit goes on, but if it is interrupted it may have to begin anew",
                RuntimeWarning,
                stacklevel=2,
            )


def _writer_of(head):
    """Who wrote a checkpoint by its first line; "" of one of sklinvariant 0.1, which does not tell."""
    parts = head.split()
    return parts[2].decode("ascii", "replace") if head.startswith(_MAGIC) and len(parts) == 4 else ""


def _described(value):
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _checksum(values):
    values = values.detach().float() if values.dtype == torch.bfloat16 else values.detach()
    numbers: Any = np.ascontiguousarray(values.cpu().numpy())
    return f"{tuple(values.shape)} {zlib.crc32(numbers)}"
