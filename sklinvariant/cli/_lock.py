"""A lock that lets only one process at a time write to a folder."""

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
    """Hold the lock file ``path`` of a folder. Raises a BlockingIOError if another process holds it.

    The operating system releases the lock when the process ends for any reason, so nothing has to be cleaned up after a
    crash. While the lock is held, the file names the process, for the error message. Afterwards the file is empty.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        taken = _lock(file)
        holder = _read(file)
        if taken is False and holder is None:  # which has just acquired the lock, and is about to write its name
            time.sleep(0.1)
            holder = _read(file)
        if taken is None:  # the file system has no locks: rely on the content of the file
            taken = holder is None or _has_ended(holder)
        if not taken:
            who = "another process" if holder is None else f"process {holder['pid']} on {holder['host']}"
            since = "" if holder is None else f" since {holder['since']}"
            raise BlockingIOError(
                f"{who} has been writing to {folder}{since}. Wait until it ends, or pass another folder. If no such "
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
    """Whether the lock could be acquired; None if the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, 1 << 30, os.SEEK_SET)  # a byte beyond the text, which other processes must be able to read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False
    return True


def _read(file):
    """The holder of the lock according to the file; None if it names none."""
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
    """Whether the process has ended. It is False if this cannot be determined, for example for another host."""
    if holder["host"] != socket.gethostname() or sys.platform == "win32":  # os.kill ends the process on Windows
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return False
