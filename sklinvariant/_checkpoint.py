"""A file from which an interrupted fit goes on."""

import os
import re
import zlib
from pathlib import Path

import numpy as np
import torch

# what a fit may be gone on with under another value of, since the model does not depend on it
_FREE = {"checkpoint", "callbacks", "verbose"}


class Checkpoint:
    """What a fit needs to go on after its last finished epoch, in a file that is there while the fit is not finished.

    The file says which fit it is of: the estimator, its parameters, checksums of the samples and of the ``pairs``
    (numbers) that are made of them, and how many epochs the model had made ``before``. Other fits refuse it.
    """

    def __init__(self, path, estimator, samples, pairs, *, before):
        self.path, self.before = Path(path), before
        parameters = estimator.get_params(deep=False)
        self.fit = {
            "estimator": type(estimator).__name__,
            **{name: _described(value) for name, value in parameters.items() if name not in _FREE},
            "samples": _checksum(samples),
            "groups or auxiliary samples": " ".join(map(_checksum, pairs)),
        }

    def read(self):
        """What was written by this very fit; None where there is no file.

        The model may be as it was before that fit, or as the fit left it when it was interrupted: what is read
        replaces it.
        """
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            fit, before, done = content.pop("fit"), content.pop("before"), len(content["history"])
        except Exception as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} cannot be read; delete it to begin anew ({error})"
            ) from error
        changed = sorted(name for name in self.fit if fit.get(name) != self.fit[name])
        if changed:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is of a fit with other {', '.join(changed)}; delete it to begin "
                "anew, or name another file"
            )
        # it has not seen the epoch that the model made last, where an interruption came before that was written
        if not before <= self.before <= before + done + 1:
            raise ValueError(
                f"checkpoint={str(self.path)!r} is of a fit that began after {before} epochs, and went on to "
                f"{before + done}; this model has made {self.before}. Delete it, or name another file"
            )
        self.before = before
        return content

    def write(self, content):
        """Replaces the file by a whole new one, so that there never is half a file."""
        draft = self.path.with_name(self.path.name + ".part")
        draft.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"fit": self.fit, "before": self.before, **content}, draft)
        os.replace(draft, self.path)

    def remove(self):
        self.path.unlink(missing_ok=True)


def _described(value):
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _checksum(values):
    return f"{tuple(values.shape)} {zlib.crc32(np.ascontiguousarray(values.cpu().numpy()))}"
