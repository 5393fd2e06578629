"""The command ``aggregation``."""

import numpy as np
import pytest

from sklinvariant.cli._command_line import main


@pytest.mark.slow
def test_aggregation_of_an_npz_file(tmp_path, capsys):
    rng = np.random.RandomState(0)
    y = np.arange(60) % 2
    np.savez(tmp_path / "data.npz", images=rng.rand(60, 12, 12) * (1 + y)[:, None, None] / 2, target=y)
    assert main(["aggregation", "--data", str(tmp_path / "data.npz"), "--output", str(tmp_path / "a.png")]) == 0
    printed = capsys.readouterr().out
    assert "LearnedVLAD" in printed
    assert "The grid search selected" in printed
    assert (tmp_path / "a.png").stat().st_size > 10_000
