"""The commands of the demonstrations: output, figures and error messages."""

import re
import subprocess
import sys

import numpy as np
import pytest

from sklinvariant.cli import _tour as _demo_tour
from sklinvariant.cli._command_line import main
from sklinvariant.cli._tour_families import FAMILIES, Row
from sklinvariant.datasets import make_camera_clips


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


def _scores(printed):
    """(score, score of the baseline) of each family in a printed table."""
    line = r"^(\S+) .* (\d\.\d{3})  \S.* (\d\.\d{3}) +\d+\.\d$"
    return {family: (float(score), float(base)) for family, score, base in re.findall(line, printed, re.M)}


@pytest.mark.parametrize("family", ["hashing", pytest.param(None, marks=pytest.mark.slow)])
def test_the_tour_beats_the_baselines(family, tmp_path, capsys):
    words = ["tour", "--only", family] if family else []
    assert main([*words, "--output", str(tmp_path / "a.png")]) == 0
    scores = _scores(capsys.readouterr().out)
    assert list(scores) == ([family] if family else list(FAMILIES))
    assert all(score > baseline for score, baseline in scores.values()), scores
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize(("error", "status"), [(ValueError("too bad"), 1), (KeyboardInterrupt(), 130)])
def test_a_failing_family_does_not_stop_the_tour(error, status, tmp_path, capsys, monkeypatch):
    """An interruption does: only the rows above it are printed, and no figure is saved."""

    def row(digits):
        return Row("A", "labels", "words", "accuracy", 0.9, "B", 0.5, lambda part: part.subplots())

    def fails(digits):
        raise error

    monkeypatch.setattr(_demo_tour, "FAMILIES", {"one": row, "two": fails, "three": row})
    assert main(["--output", str(tmp_path / "a.png")]) == status
    printed = capsys.readouterr()
    assert list(_scores(printed.out)) == (["one", "three"] if status == 1 else ["one"])
    assert ("two: too bad" if status == 1 else "interrupted") in printed.err
    assert (tmp_path / "a.png").exists() == (status == 1)


def test_unknown_family(capsys):
    with pytest.raises(SystemExit):
        main(["tour", "--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def _video(path, frames):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_pooling_from_a_video(tmp_path, capsys):
    video = tmp_path / "video.mp4"
    _video(video, make_camera_clips(1, n_frames=40, image_size=96, random_state=0)[0])
    words = ["pool", str(video), "--output", str(tmp_path / "a.png"), "--pairs", "200", "--clusters", "5"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "200 pairs of patches" in printed
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_a_black_video(tmp_path, capsys):
    _video(tmp_path / "black.mp4", np.zeros((20, 96, 96, 3), np.uint8))
    assert main(["pool", str(tmp_path / "black.mp4"), "--output", str(tmp_path / "a.png")]) == 2
    assert "no pair" in capsys.readouterr().err
