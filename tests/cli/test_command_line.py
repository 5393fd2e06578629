"""The command line: help and error messages."""

import subprocess
import sys

import pytest

from sklinvariant.cli._command_line import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["aggregation", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["aggregation", "--max-images", "3"], "--max-images must be at least 20"),
        (["--output", "no/such/folder/a.png"], "there is no folder"),
        (["pool", "--pairs", "5"], "--pairs must be at least 100"),
        (["pool", "nowhere.mp4"], "nowhere.mp4"),
        (["pool", "--output", "no/such/folder/a.png"], "there is no folder"),
    ],
)
def test_bad_arguments(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_help():
    answer = subprocess.run([sys.executable, "-m", "sklinvariant", "--help"], capture_output=True, text=True)
    assert answer.returncode == 0
    assert "--only" in answer.stdout


def test_unknown_family(capsys):
    with pytest.raises(SystemExit):
        main(["tour", "--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err
