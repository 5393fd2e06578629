"""Ctrl-C and SIGTERM end a command within a second, whatever it is computing."""

import atexit
import os
import signal
import socket
import sys
import threading
import time

_PATIENCE = 0.7  # seconds a command has to clean up after a signal before its process is ended
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_asked: list[int] = []  # the signal that requested the end of the command
_said: list[int] = []  # the same signal, after it was reported


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in the main thread and, a little later, end the process.

    Python runs signal handlers only between two of its own instructions, so a long call into C delays the exception.
    The wakeup socket is written at once, and a thread that reads it ends the process. All files are written with
    `replacing`, so at most a temporary file is left behind.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored under nohup or a shell's &
            signal.signal(number, _interrupt)
    if hasattr(os, "register_at_fork"):
        # otherwise a signal to a child would reach the shared socket and end the parent
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
    threading.Thread(target=_end, args=(reader, writer), name="end after a signal", daemon=True).start()


def check() -> None:
    """Raise KeyboardInterrupt if a signal was received but its exception was swallowed."""
    if _asked:
        raise KeyboardInterrupt


def report() -> int:
    """Report that the command was stopped, and return the exit status: 130 after SIGINT, 143 after SIGTERM."""
    number = _asked[0] if _asked else signal.SIGINT
    message = f"sklinvariant: {_WORDS[signal.Signals(number)]}\n"
    if sys.stderr.isatty():
        message = f"\x1b[?25h\n{message}"  # a progress bar may have hidden the cursor
    _said.append(number)
    sys.stderr.write(message)
    return 128 + number


def leave() -> None:
    """End the process here if a signal was received; otherwise do nothing.

    Python's own end destroys all modules, which takes up to a second after torch was imported, and no thread can cut it
    short. The exit functions of libraries, which remove temporary files, run here, where a thread limits their time.
    """
    if _asked:
        atexit._run_exitfuncs()
        os._exit(128 + _asked[0])


def _interrupt(number, frame):
    for other in _WORDS:
        signal.signal(other, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the clean-up
    _asked.append(number)
    raise KeyboardInterrupt


def _hold():
    signal.pthread_sigmask(signal.SIG_BLOCK, _WORDS)


def _release():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WORDS)


def _forget():
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


def _end(reader, writer):  # keeps a reference to the writer, which otherwise would be closed
    number = 0
    while number not in _WORDS:  # libraries may handle other signals
        number = reader.recv(1)[0]
    time.sleep(_PATIENCE)
    if not _said:  # the main thread is still in C code, or the exception was swallowed
        _asked.append(number)
        words = threading.Thread(target=report, daemon=True)  # in a thread, because writing blocks if nobody reads
        words.start()
        words.join(0.1)
    os._exit(128 + number)
