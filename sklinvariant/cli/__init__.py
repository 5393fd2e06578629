"""The command line: the tour, the other commands, the index of photographs, and reports."""

from sklinvariant.cli import _stopping as _stopping

__all__ = ["run"]


def run() -> int | str | None:
    """Run the command line as its own process. Return the exit status."""
    _stopping.listen()  # before the commands are imported
    try:
        from sklinvariant.cli._command_line import run_process

        status = run_process()
    except KeyboardInterrupt:
        status = _stopping.report()
    _stopping.leave()
    return status
