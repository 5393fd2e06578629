"""The command line: arguments, exit status, and errors reported as one line."""

import argparse
import contextlib
import json
import os
import sys
from typing import Any

from sklinvariant import __version__
from sklinvariant.cli import _aggregation as _aggregation
from sklinvariant.cli import _backbones as _backbones
from sklinvariant.cli import _cluster as _cluster
from sklinvariant.cli import _completion as _completion
from sklinvariant.cli import _duplicates as _duplicates
from sklinvariant.cli import _index as _index
from sklinvariant.cli import _pool as _pool
from sklinvariant.cli import _query as _query
from sklinvariant.cli import _retrieve as _retrieve
from sklinvariant.cli import _stopping as _stopping
from sklinvariant.cli import _tour as _tour
from sklinvariant.cli._options import add_common
from sklinvariant.cli._outputs import printable

_NOBODY_READS = 141  # the status that a shell reports for a program ended by SIGPIPE
# A command is a module with `add_arguments(parser)` and `run(arguments) -> Outcome`. It prints for people.
_COMMANDS = {
    "tour": (_tour, "compare one method of each family with a baseline, on scikit-learn's digits"),
    "index": (_index, "index a folder of photographs for retrieval"),
    "query": (_query, "find the photographs of an index that are most similar to an image"),
    "cluster": (_cluster, "cluster photographs without labels"),
    "duplicates": (_duplicates, "group the photographs of a folder that are the same; nothing is deleted"),
    "aggregation": (_aggregation, "compare aggregation methods in a grid search"),
    "retrieve": (_retrieve, "retrieve rotated images with binary codes"),
    "pool": (_pool, "learn pooling of features from video"),
    "backbones": (_backbones, "list the networks that can be used here, and what each gives"),
    "completion": (_completion, "print a script that lets a shell complete commands and options"),
}


def run_process() -> Any:
    """Run the command line in a process of its own, which signals and a closed pipe end quietly."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # commands list the files that cannot be read, in one line each
    status: Any
    try:
        status = main()
    except SystemExit as end:  # argparse has printed its help or its error message
        status = end.code
    except KeyboardInterrupt:
        status = _stopping.report()
    except BrokenPipeError:
        status = _NOBODY_READS
    try:
        if sys.stdout is not None:  # stdout is None if it was closed with >&-
            sys.stdout.flush()
    except OSError as error:
        # Python flushes stdout again at exit and would report the error a second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status or _NOBODY_READS
        print(f"sklinvariant: standard output: {error}", file=sys.stderr)
        return status or 2
    return status


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Return the exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # file names may be undecodable, or not encodable in this terminal
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # no finished line is lost on a signal
    try:
        if arguments.command is None:
            parser.print_help()
            return 0
        return _execute(arguments)
    except BrokenPipeError:  # for example, head has read enough
        return _NOBODY_READS
    except (OSError, ValueError, ImportError, ArithmeticError) as error:
        print(f"sklinvariant: {printable(error, keep=chr(10))}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"sklinvariant: not enough memory. {printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _stopping.report()


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="sklinvariant", description="Demonstrations of sklinvariant, and retrieval of photographs."
    )
    parser.add_argument("--version", action="version", version=f"sklinvariant {__version__}")
    commands = parser.add_subparsers(metavar="command", dest="command")
    for name, (command, what) in _COMMANDS.items():
        own = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        command.add_arguments(own)
        add_common(own)
        own.set_defaults(run=command.run)
    return parser


def _execute(arguments):
    """Run the command, and print its document with ``--json``. Return the exit status."""
    if getattr(arguments, "device", "auto") != "auto":
        from sklinvariant.base import resolve_device

        resolve_device(arguments.device)  # raises before any work
    if not 0 <= getattr(arguments, "seed", 0) < 2**32:
        raise ValueError(f"--seed must be from 0 to {2**32 - 1}, got {arguments.seed}")
    with _printing(arguments):
        outcome = arguments.run(arguments)
    if arguments.json:
        print(json.dumps({"command": arguments.command, **outcome.document}, indent=1, allow_nan=False))
    return outcome.status


def _printing(arguments):
    """Where a command prints what it prints for people: standard error with ``--json``, nowhere with ``--quiet``."""
    if arguments.quiet:
        return _printing_nowhere()
    return contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext()


@contextlib.contextmanager
def _printing_nowhere():
    with (
        open(os.devnull, "w", encoding="utf-8", errors="backslashreplace") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield
