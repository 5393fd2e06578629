"""The command line: help and error messages."""

import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sklinvariant
from sklinvariant.cli._command_line import _COMMANDS, _NOBODY_READS, main

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["aggregation", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["aggregation", "--max-images", "3"], "--max-images must be at least 20"),
        (["tour", "--output", "no/such/folder/a.png"], "there is no folder"),
        (["pool", "--pairs", "5"], "--pairs must be at least 100"),
        (["pool", "nowhere.mp4"], "nowhere.mp4"),
        (["pool", "--output", "no/such/folder/a.png"], "there is no folder"),
    ],
)
def test_bad_arguments(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def _run(*words, **settings):
    return subprocess.run([*words], capture_output=True, text=True, **settings)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help(words):
    """Without arguments the help is shown, and nothing is computed."""
    answer = _run(sys.executable, "-m", "sklinvariant", *words)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("usage: sklinvariant ")
    for name in ("tour", "index", "query", "cluster", "aggregation", "retrieve", "pool", "backbones", "completion"):
        assert f"  {name} " in answer.stdout or f"  {name}\n" in answer.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"sklinvariant {sklinvariant.__version__}\n"


def test_the_console_script_is_the_command_line():
    """What pip installs as ``sklinvariant`` calls the function that ``python -m sklinvariant`` calls."""
    (script,) = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"].items()
    assert script == ("sklinvariant", "sklinvariant.cli:run")
    code = "import sys; from sklinvariant.cli import run; sys.argv = ['sklinvariant', '--version']; sys.exit(run())"
    answer = _run(sys.executable, "-c", code)
    assert (answer.returncode, answer.stdout) == (0, f"sklinvariant {sklinvariant.__version__}\n")


def test_unknown_family(capsys):
    with pytest.raises(SystemExit):
        main(["tour", "--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize("section", ["# The command line", "## JSON"])
def test_the_guide_lists_every_command(section):
    """In its table of commands, and in that of the fields of their documents."""
    guide = (PROJECT / "docs/guide_command_line.md").read_text(encoding="utf-8")
    table = guide[guide.index(f"{section}\n") :].split("\n## ")[0]
    named = {line.split("`")[1].split()[0] for line in table.splitlines() if line.startswith("| `")}
    assert named == set(_COMMANDS)


def test_the_guide_lists_every_exit_status():
    guide = (PROJECT / "docs/guide_command_line.md").read_text(encoding="utf-8")
    table = guide[guide.index("## Exit status\n") :].split("\n## ")[0]
    stopped = {128 + signal.SIGINT, 128 + signal.SIGTERM, _NOBODY_READS}
    assert {int(status) for status in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {0, 1, 2, *stopped}
