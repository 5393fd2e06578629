"""A folder that one process at a time writes to."""

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def locked(path: str | os.PathLike, folder: str | os.PathLike) -> Iterator[None]:
    """Hold the lock file ``path`` of a folder; BlockingIOError where another process holds it.

    The operating system releases the lock when its process ends, however that happens, so nothing has to be removed
    after a crash. The file stays, empty. While it is held it names the process, for the message.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        holder = _read(file)
        taken = _lock(file)
        if taken is None:  # a file system without locks: what the file says has to do
            taken = holder is None or _has_ended(holder)
        if not taken:
            who = "another process" if holder is None else f"process {holder['pid']} on {holder['host']}"
            since = "" if holder is None else f" since {holder['since']}"
            raise BlockingIOError(
                f"{who} has been writing to {folder}{since}. Wait until it ends, or give another folder. If no such "
                f"process is running any more, delete {path}"
            )
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        _write(file, json.dumps(holder))
        try:
            yield
        finally:
            _write(file, "")
    finally:
        os.close(file)


def _lock(file):
    """Whether the lock could be taken; None where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, 1 << 30, os.SEEK_SET)  # far behind the text, which others must be able to read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False
    return True


def _read(file):
    """Who holds the lock, as the file says; None where it says nothing."""
    os.lseek(file, 0, os.SEEK_SET)
    try:
        holder = json.loads(os.read(file, 1000))
        return {"pid": int(holder["pid"]), "host": str(holder["host"]), "since": str(holder["since"])}
    except (ValueError, KeyError, TypeError):
        return None


def _write(file, text):
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, text.encode())


def _has_ended(holder):
    """Whether the process is known to have ended, which cannot be found out on another host."""
    if holder["host"] != socket.gethostname() or sys.platform == "win32":  # os.kill ends the process on Windows
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False
