"""The lock of an index: killed processes, systems without locks, links."""

import json
import os
import socket
import subprocess
import sys

import pytest

from sklinvariant.cli import _lock as _lock
from sklinvariant.cli._lock import locked


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    program = f"""
import sys
from sklinvariant.cli._lock import locked
with locked({str(tmp_path / "lock")!r}, "here"):
    print("locked", flush=True)
    sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError, match=f"process {process.pid} on"), locked(tmp_path / "lock", "here"):
            pass
        process.kill()
        process.wait()
    assert json.loads((tmp_path / "lock").read_text())["pid"] == process.pid
    with locked(tmp_path / "lock", "here"):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert (tmp_path / "lock").read_text() == ""


def test_where_there_are_no_locks_the_file_says_who_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(_lock, "_lock", lambda file: None)
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    own, here = os.getpid(), socket.gethostname()
    for pid, host, is_free in ((own, here, False), (1, "elsewhere", False), (ended.pid, here, os.name != "nt")):
        path.write_text(json.dumps({"pid": pid, "host": host, "since": "yesterday"}))
        if is_free:
            with locked(path, "here"):
                pass
        else:
            with pytest.raises(BlockingIOError, match=f"process {pid} on {host} .* since yesterday"):
                locked(path, "here").__enter__()
    path.write_text("not json")
    with locked(path, "here"):
        pass


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are followed here")
def test_a_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "lock").symlink_to(tmp_path / "letter.txt")
    with pytest.raises(OSError, match="lock"):
        locked(tmp_path / "lock", "here").__enter__()
    assert (tmp_path / "letter.txt").read_text() == "dear"
