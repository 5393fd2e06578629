"""The command ``completion``: scripts that real shells accept and that complete commands, options and paths."""

import shutil
import subprocess
import sys

import pytest

from sklinvariant.cli._command_line import main

_COMPLETE = """
source "$1"
COMP_WORDS=("${@:2}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
$(complete -p sklinvariant | sed -E 's/.*-F ([^ ]+) .*/\\1/') sklinvariant "${COMP_WORDS[-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _completions(script, words):
    """What bash offers for the last of the words."""
    command = ["bash", "-c", _COMPLETE, "bash", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent)
    return {word.strip() for word in done.stdout.splitlines()}


@pytest.fixture
def script(tmp_path, capsys):
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script.bash").write_text(capsys.readouterr().out)
    return tmp_path / "script.bash"


@pytest.mark.skipif(shutil.which("bash") is None or sys.platform == "win32", reason="no bash here")
def test_bash_completes(script):
    (script.parent / "holidays").mkdir()
    assert {"index", "query", "completion"} <= _completions(script, ["sklinvariant", ""])
    assert _completions(script, ["sklinvariant", "clu"]) == {"cluster"}
    assert "--image-size" in _completions(script, ["sklinvariant", "index", "--im"])
    assert "--html" not in _completions(script, ["sklinvariant", "query", "--"])  # an alias that is kept, not offered
    assert {"holidays", "holidays/"} & _completions(script, ["sklinvariant", "index", "holi"])
    assert "bash" in _completions(script, ["sklinvariant", "completion", "b"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_every_shell_has_a_script(shell, capsys):
    pytest.importorskip("shtab", reason="shtab is not installed")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "sklinvariant" in script
    assert "cluster" in script
    if shell != "tcsh" and shutil.which(shell):  # tcsh has no check of a script
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_without_shtab(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert 'completion needs shtab: pip install "sklinvariant[completion]"' in capsys.readouterr().err
