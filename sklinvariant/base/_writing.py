"""Files that are replaced as a whole or not at all."""

import contextlib
import os
import uuid


@contextlib.contextmanager
def replacing(path, mode="wb", **settings):
    """Open a temporary file beside ``path`` that takes its place when the block ends.

    After an error, a full disk or an interruption the old file is as it was and the temporary one is gone. Arrays that
    are memory-mapped from the old file stay valid. A link is replaced, not followed.
    """
    # beside the target, so that the replacement is atomic; opened plainly, so that the mode is the user's umask
    temporary = f"{os.fsdecode(path)}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, mode.replace("w", "x"), **settings) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a loss of power could otherwise leave an empty file in the place of the old one
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
