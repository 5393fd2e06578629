"""The command ``pool``: videos, and videos without pairs."""

import numpy as np
import pytest

from sklinvariant.cli._command_line import main
from sklinvariant.datasets import make_camera_clips


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
