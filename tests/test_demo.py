"""The command line: what it prints, draws and answers to bad words."""

import subprocess
import sys

import numpy as np
import pytest

from sklinvariant._command_line import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere: no such file or folder"),
        (["--max-images", "3"], "--max-images must be at least 20"),
        (["--output", "no/such/folder/a.png"], "there is no folder"),
    ],
)
def test_bad_words(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_help():
    answer = subprocess.run([sys.executable, "-m", "sklinvariant", "--help"], capture_output=True, text=True)
    assert answer.returncode == 0
    assert "--data" in answer.stdout


@pytest.mark.slow
def test_on_a_file(tmp_path, capsys):
    rng = np.random.RandomState(0)
    y = np.arange(60) % 2
    np.savez(tmp_path / "data.npz", images=rng.rand(60, 12, 12) * (1 + y)[:, None, None] / 2, target=y)
    assert main(["aggregation", "--data", str(tmp_path / "data.npz"), "--output", str(tmp_path / "a.png")]) == 0
    printed = capsys.readouterr().out
    assert "LearnedVLAD" in printed
    assert "The grid search chose" in printed
    assert (tmp_path / "a.png").stat().st_size > 10_000
