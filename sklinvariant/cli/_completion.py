"""The command ``completion``: completion of commands and options by the shell."""

from argparse import ArgumentParser, Namespace

from sklinvariant.cli._options import Outcome

_SHELLS = "bash", "zsh", "fish", "tcsh"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``completion``."""
    parser.add_argument("shell", choices=_SHELLS, help="the shell; its script is printed, for its start-up file")


def run(arguments: Namespace) -> Outcome:
    """Print the script of a shell."""
    from sklinvariant.cli._command_line import make_parser

    script = completion_script(make_parser(), arguments.shell)
    print(script)
    return Outcome({"shell": arguments.shell, "script": script})


def completion_script(parser: ArgumentParser, shell: str) -> str:
    """The script that completes the commands, options and paths of a parser."""
    from sklinvariant.base import need_extra

    shtab = need_extra("shtab", "completion", "completion")
    for command in _commands(parser):
        for action in command._actions:
            kind = getattr(action, "path", None)
            if kind:
                action.complete = {"file": shtab.FILE, "folder": shtab.DIRECTORY}[kind]  # type: ignore[attr-defined]
    return shtab.complete(parser, shell)


def _commands(parser):
    return next(action.choices for action in parser._actions if isinstance(action.choices, dict)).values()
