"""The tour: its table and figure, and families that fail."""

import re

import pytest

from sklinvariant.cli import _tour as _demo_tour
from sklinvariant.cli._command_line import main
from sklinvariant.cli._tour_families import FAMILIES, Row


def _scores(printed):
    """(score, score of the baseline) of each family in a printed table."""
    line = r"^(\S+) .* (\d\.\d{3})  \S.* (\d\.\d{3}) +\d+\.\d$"
    return {family: (float(score), float(base)) for family, score, base in re.findall(line, printed, re.M)}


@pytest.mark.parametrize("family", ["hashing", pytest.param(None, marks=pytest.mark.slow)])
def test_the_tour_beats_the_baselines(family, tmp_path, capsys):
    words = ["tour", *(["--only", family] if family else [])]
    assert main([*words, "--output", str(tmp_path / "a.png")]) == 0
    scores = _scores(capsys.readouterr().out)
    assert list(scores) == ([family] if family else list(FAMILIES))
    assert all(score > baseline for score, baseline in scores.values()), scores
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize(("error", "status"), [(ValueError("too bad"), 1), (KeyboardInterrupt(), 130)])
def test_a_failing_family_does_not_stop_the_tour(error, status, tmp_path, capsys, monkeypatch):
    """An interruption ends the tour: only the earlier rows are printed, and no figure is saved."""

    def row(digits):
        return Row(
            "A", "labels", "words", "accuracy", 0.9, "B", 0.5, lambda part: part.subplots(), "accuracy", "a picture"
        )

    def fails(digits):
        raise error

    monkeypatch.setattr(_demo_tour, "FAMILIES", {"one": row, "two": fails, "three": row})
    assert main(["tour", "--output", str(tmp_path / "a.png")]) == status
    printed = capsys.readouterr()
    assert list(_scores(printed.out)) == (["one", "three"] if status == 1 else ["one"])
    assert ("two: too bad" if status == 1 else "interrupted") in printed.err
    assert (tmp_path / "a.png").exists() == (status == 1)
