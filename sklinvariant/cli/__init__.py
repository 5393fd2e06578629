"""The command line: the tour, the other commands, the index of photographs, and reports."""

from sklinvariant.cli._command_line import run

__all__ = ["run"]
