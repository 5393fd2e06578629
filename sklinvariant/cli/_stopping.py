"""Ctrl-C and SIGTERM end a command within a second, whatever it is computing."""

import os
import signal
import socket
import sys
import threading
import time

_PATIENCE = 0.7  # seconds a command has to clean up after a signal before its process is ended
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_asked: list[int] = []  # the signal that asked the command to end
_said: list[int] = []  # the same, once it is reported


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in the main thread and, a little later, end the process.

    Python runs a signal's handler between two of its own instructions, so a long call into C delays the exception. The
    wakeup socket does not wait for that: a thread reads it and ends the process. All files are written with
    `replacing`, so the most that is left behind is a temporary file.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup or a shell's & has set it
            signal.signal(number, _interrupt)
    if hasattr(os, "register_at_fork"):
        # or a signal to a child would reach the socket, which it shares, and end its parent
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_forget)
    threading.Thread(target=_end, args=(reader, writer), name="end after a signal", daemon=True).start()


def check() -> None:
    """Raise KeyboardInterrupt where a signal has asked for the end but the exception was swallowed on its way."""
    if _asked:
        raise KeyboardInterrupt


def report() -> int:
    """Say that the command was stopped; its exit status, 130 after SIGINT and 143 after SIGTERM."""
    number = _asked[0] if _asked else signal.SIGINT
    message = f"sklinvariant: {_WORDS[signal.Signals(number)]}\n"
    if sys.stderr.isatty():
        message = f"\x1b[?25h\n{message}"  # a progress bar may have hidden the cursor
    _said.append(number)
    sys.stderr.write(message)
    return 128 + number


def _interrupt(number, frame):
    for other in _WORDS:
        signal.signal(other, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the cleaning up
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


def _end(reader, writer):  # keeps a reference to the writer, which would be closed otherwise
    number = 0
    while number not in _WORDS:  # libraries may handle other signals
        number = reader.recv(1)[0]
    time.sleep(_PATIENCE)
    if not _said:  # the main thread is still inside C, or something has swallowed the exception
        _asked.append(number)
        words = threading.Thread(target=report, daemon=True)  # in a thread: nobody may be reading what is written
        words.start()
        words.join(0.1)
    os._exit(128 + number)
