"""Ctrl-C, SIGTERM and a closed pipe end commands, as processes of their own, at once and without loss."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from photographs import write_images

from sklinvariant.cli._command_line import main
from sklinvariant.cli._outputs import MARK

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
_SOON = 20.0  # seconds by the clock: other processes may keep a stopping command waiting
_SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_SOON_OF_PROCESSOR = 2.0  # seconds of its own work; about 0.3 on a laptop
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}


@contextlib.contextmanager
def _started(*words, **settings):
    command = [sys.executable, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=_ENVIRONMENT, **pipes, **settings) as process:
        try:
            yield process
        finally:
            process.kill()  # where a test has failed


def _processor_time(process):
    """Processor time of a process in seconds, also after its end; None if the system does not report it."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stop(process, number):
    """Send a signal, and return (standard output since then, standard error, exit status)."""
    before = _processor_time(process)
    process.send_signal(number)
    started = time.monotonic()
    if before is not None:  # asked while the process is a zombie: os.times counts all children, such as joblib's
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            assert time.monotonic() - started < _SOON
            time.sleep(0.01)
        assert _processor_time(process) - before < _SOON_OF_PROCESSOR
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - started < _SOON
    assert "Traceback" not in err
    return out, err, process.returncode


def _read_until(process, words):
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(process.stderr.read())


def test_an_interrupted_tour_prints_no_result_of_a_truncated_fit(tmp_path):
    with _started("-m", "sklinvariant", "tour", "--only", "video", "features", cwd=tmp_path) as process:
        _read_until(process, "family")
        time.sleep(0.7)
        out, err, status = _stop(process, signal.SIGINT)
    assert (out, status) == ("", 130)
    assert err.splitlines()[-1] == "sklinvariant: interrupted"
    assert os.listdir(tmp_path) == []


def test_an_interrupted_grid_search_ends(tmp_path):
    with _started("-m", "sklinvariant", "aggregation", "--max-images", "1500", cwd=tmp_path) as process:
        _read_until(process, "training images")
        time.sleep(2.0)
        out, err, status = _stop(process, signal.SIGINT)
    assert status == 130
    assert "method" not in out
    assert err.splitlines()[-1] == "sklinvariant: interrupted"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_index_keeps_its_chunks(number, tmp_path):
    pytest.importorskip("faiss", reason="faiss is not installed")
    photos, out = tmp_path / "photos", tmp_path / "index"
    photos.mkdir()
    image = np.random.RandomState(0).randint(256, size=(40, 40, 3)).astype(np.uint8)
    for i in range(130):
        cv2.imwrite(str(photos / f"{i:03d}.png"), np.roll(image, i, axis=1))
    words = ["index", str(photos), "--output", str(out), "--image-size", "40", "--rotations", "8", "--scales", "1"]
    with _started("-m", "sklinvariant", *words) as process:
        while process.poll() is None and not (out / "features-000000.npz").exists():
            time.sleep(0.01)
        _, err, status = _stop(process, number)
    assert status == 128 + number
    assert err.splitlines()[-1] == f"sklinvariant: {_SAID[number]}"
    assert not (out / "names.json").exists()
    kept = (out / "features-000000.npz").stat().st_mtime_ns
    assert main(words) == 0
    assert (out / "features-000000.npz").stat().st_mtime_ns == kept


@pytest.mark.parametrize("module", ["argparse", "torch."])
def test_an_interruption_while_libraries_are_imported(module, tmp_path):
    with _started("-X", "importtime", "-m", "sklinvariant", "retrieve", cwd=tmp_path) as process:
        for line in process.stderr:  # a module is listed when it was imported, before the package that imports it
            if module in line:
                break
        out, err, status = _stop(process, signal.SIGINT)
    assert (out, status) == ("", 130)
    assert "sklinvariant: interrupted" in err


@pytest.mark.parametrize("stage", ["NestedInvariancePooler", "IICClusterer"])
def test_an_interrupted_clustering_keeps_the_page_of_an_earlier_run(stage, tmp_path):
    """The signal arrives while the progress bar of features, or of the fit, is on the terminal."""
    pty, termios = (pytest.importorskip(name, reason="no pseudo-terminals here") for name in ("pty", "termios"))
    write_images(tmp_path / "photos", 300)
    (tmp_path / "clusters.html").write_text(f"a page. {MARK}")
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 100))
    words = [sys.executable, "-m", "sklinvariant", "cluster", "photos", "--image-size", "64"]
    with subprocess.Popen(words, env=_ENVIRONMENT, cwd=tmp_path, stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        shown = b""
        while stage.encode() not in shown:
            shown += os.read(terminal, 1000)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        with contextlib.suppress(OSError):  # the terminal is closed when the process has ended
            while part := os.read(terminal, 1000):
                shown += part
        assert process.wait(timeout=60) == 130
        assert time.monotonic() - started < _SOON
        assert process.stdout.read() == b""
    os.close(terminal)
    assert b"sklinvariant: interrupted" in shown
    assert b"Traceback" not in shown
    assert (tmp_path / "clusters.html").read_text() == f"a page. {MARK}"
    assert sorted(os.listdir(tmp_path)) == ["clusters.html", "photos"]


def test_signals_are_heard_before_libraries_are_imported():
    """Slow imports happen inside the commands."""
    code = "import sys, sklinvariant.cli._command_line; print(*{'torch', 'sklearn', 'numpy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_ENVIRONMENT)
    assert done.stdout == "\n"


_PROGRAM = """
import hashlib, os, signal, sys, time
SETUP
from sklinvariant import cli
from sklinvariant.cli import _command_line

def swallow():
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass

def main():
    print("ready", flush=True)
    WORK
    return 0

_command_line.main = main
sys.exit(cli.run())
"""
_SLOW_END = """
class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(60)

slow = Slow()
"""
_WORK = {  # what a command computes, and what its program begins with
    "interruptible": ("time.sleep(60)", ""),
    "inside C": ("hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)", ""),  # one call that returns after minutes
    "inside torch": ("torch.linalg.svdvals(torch.rand(5000, 5000))", "import torch"),  # as a long step of training
    "swallowed": ("swallow()", ""),
    "slow at exit": ("time.sleep(60)", "import atexit; atexit.register(time.sleep, 60)"),
    "slow after exit": ("time.sleep(60)", _SLOW_END),
}


def _program(work, setup=""):
    return ["-c", _PROGRAM.replace("WORK", work).replace("SETUP", setup)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", _WORK)
def test_whatever_is_computed_ends(work, number):
    with _started(*_program(*_WORK[work])) as process:
        _read_until(process, "ready")
        out, err, status = _stop(process, number)
    assert (out, status) == ("", 128 + number)
    assert err == f"sklinvariant: {_SAID[number]}\n"


def _seconds_to_start():
    """Seconds in which this machine, as busy as it is now, starts and ends Python without packages."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    return time.monotonic() - started


def _seconds_to_end(words):
    with _started(*words) as process:
        _read_until(process, "ready")
        time.sleep(0.1)  # into the work
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        return time.monotonic() - started


@pytest.mark.parametrize("work", _WORK)
def test_ctrl_c_ends_a_command_within_a_second(work):
    """In one of three attempts: other processes may delay the end, by as much as they delay the start of Python."""
    excess = []
    while not excess or excess[-1] > 0:
        assert len(excess) < 3, f"seconds too late: {excess}"
        seconds = _seconds_to_end(_program(*_WORK[work]))
        excess.append(seconds - 1.0 - 3 * _seconds_to_start())


def test_a_signal_that_was_ignored_stays_ignored():
    """nohup and a shell's & start processes in which signals are ignored."""
    words = _program("os.kill(os.getpid(), signal.SIGINT)")
    with _started(*words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        assert process.communicate(timeout=60) == ("ready\n", "")
    assert process.returncode == 0


def test_a_signal_to_a_forked_child_ends_the_child_alone():
    fork = """
def fork():
    child = os.fork()
    if child == 0:
        time.sleep(60)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    time.sleep(1.5)
    print("still here")
"""
    with _started(*_program("fork()", setup=fork)) as process:
        assert process.communicate(timeout=60) == ("ready\nstill here\n", "")
    assert process.returncode == 0


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nobody_reads_on(options, tmp_path):
    """As in ``| head -1``: no message, and the exit status of other programs."""
    with _started("-m", "sklinvariant", "tour", "--only", "hashing", *options, cwd=tmp_path) as process:
        reads = process.stderr if options else process.stdout
        assert reads.readline().startswith("digits")
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["cluster", "--help"], ["completion", "bash"]])
def test_nobody_reads_at_all(words):
    with _started("-m", "sklinvariant", *words) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written():
    command = [sys.executable, "-m", "sklinvariant", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=_ENVIRONMENT)
    assert done.returncode == 2
    assert re.fullmatch(r"sklinvariant: standard output: .*No space left on device\n", done.stderr)
