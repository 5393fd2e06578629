"""Clips from videos and folders: order, frame rates, rotation, damage, memory."""

import struct
import sys
import tracemalloc

import numpy as np
import pytest
from examples import moving, recorded

from sklinvariant.datasets import VideoPairs, frame_pairs


def write_video(path, frames, codec="ffv1", pix_fmt="bgr0", times=None, gop_size=12):
    """Write a lossless video: ffv1 in an .avi or .mkv file."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size = pix_fmt, gop_size
        for t, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[t], stream.codec_context.time_base or 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_images(folder, frames, names):
    cv2 = pytest.importorskip("cv2")
    folder.mkdir()
    for frame, name in zip(frames, names, strict=True):
        cv2.imwrite(str(folder / name), frame[..., ::-1])
    return folder


def test_folders_of_images_in_natural_order(tmp_path):
    frames = moving(12)
    write_images(tmp_path / "b", frames, [f"{i}.png" for i in range(12)])
    write_images(tmp_path / "a", frames[:4], [f"x{i}.PNG" for i in (8, 9, 10, 11)])
    (tmp_path / "b" / "notes.txt").write_text("no image")
    pairs, groups = frame_pairs(tmp_path)
    np.testing.assert_array_equal(pairs[:3, 1], frames[1:4])
    np.testing.assert_array_equal(pairs[3:, 0], frames[:11])
    assert groups.tolist() == [0] * 3 + [1] * 11
    assert VideoPairs(tmp_path).clip_names == [str(tmp_path / "a"), str(tmp_path / "b")]
    chosen = [tmp_path / "b" / f"{i}.png" for i in (5, 2, 7)]
    np.testing.assert_array_equal(frame_pairs(chosen)[0][:, 0], frames[[5, 2]])
    (tmp_path / "b" / "6.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"6.png cannot be read"):
        pairs, _ = frame_pairs([tmp_path / "b", frames[:3]])
    np.testing.assert_array_equal(pairs[:, 0], frames[[0, 1, 2, 3, 4, 7, 8, 9, 10, 0, 1]])


def test_paths_that_hold_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        VideoPairs(tmp_path / "nowhere.mp4")
    with pytest.raises(ValueError, match="no videos and no images"):
        VideoPairs(tmp_path)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="is a single image"):
        VideoPairs(tmp_path / "a.png")


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 33), (2, 3)])
def test_a_video_is_its_frames(tmp_path, height, width):
    frames = np.random.RandomState(0).randint(0, 256, (7, height, width, 3)).astype(np.uint8)
    write_video(tmp_path / "a.mkv", frames)  # no header says how many frames there are
    write_video(tmp_path / "b.avi", frames[:3])
    pairs, groups = frame_pairs(tmp_path)
    np.testing.assert_array_equal(pairs, frame_pairs([frames, frames[:3]])[0])
    assert groups.tolist() == [0] * 6 + [1] * 2
    stream = VideoPairs([tmp_path / "a.mkv", str(tmp_path / "b.avi")], patch_size=2, n_pairs=64, batch_size=10)
    assert len(stream) == len(list(stream)) == 7


def test_a_variable_frame_rate(tmp_path):
    frames = moving(10)
    write_video(tmp_path / "a.mkv", frames, times=[0, 1, 2, 10, 30, 31, 32, 33, 60, 61])
    pairs, _ = frame_pairs(tmp_path / "a.mkv")
    np.testing.assert_array_equal(pairs[:, 0], frames[:-1])


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda f: f),
        ((0, 1, -1, 0), lambda f: np.rot90(f, -1)),
        ((0, -1, 1, 0), lambda f: np.rot90(f, 1)),
        ((-1, 0, 0, -1), lambda f: np.rot90(f, 2)),
        ((-1, 0, 0, 1), lambda f: f[:, ::-1]),
        ((0, 1, 1, 0), lambda f: f.swapaxes(0, 1)),
    ],
)
def test_a_video_is_turned_as_its_header_says(tmp_path, matrix, shown):
    frames = moving(5)
    path = write_video(tmp_path / "a.mp4", frames, "mpeg4", "yuv420p")
    upright = frame_pairs(path)[0][0, 0]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    a, b, c, d = (65536 * value for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    np.testing.assert_array_equal(frame_pairs(path)[0][0, 0], shown(upright))


def test_a_video_that_breaks_off(tmp_path):
    frames = np.random.RandomState(0).randint(0, 256, (50, 16, 16, 3)).astype(np.uint8)
    path = write_video(tmp_path / "a.mkv", frames)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    write_video(tmp_path / "b.mkv", frames[:4])
    (tmp_path / "c.mp4").write_bytes(b"no video at all")
    write_video(tmp_path / "d.mkv", frames[:3])
    stream = VideoPairs(tmp_path)
    ((pairs, clips),), said = recorded(stream)
    assert len(said) == 2
    assert "a.mkv: " in said[0]
    assert "c.mp4: cannot be read" in said[1]
    assert any("ends early, after" in reason for _, reason in stream.failed)
    counts = np.bincount(clips, minlength=4)
    assert 10 < counts[0] < 30
    assert counts[1:].tolist() == [3, 0, 2]
    np.testing.assert_array_equal(pairs[: counts[0], 0], frames[: counts[0]])
    with pytest.raises(ValueError, match=r"a\.mkv: "):
        list(VideoPairs(tmp_path, on_error="raise"))
    with (
        pytest.warns(UserWarning, match="These frames are skipped"),
        pytest.raises(ValueError, match=r"c\.mp4 cannot be"),
    ):
        frame_pairs(tmp_path / "c.mp4")


def test_no_pair_spans_a_damaged_frame(tmp_path):
    frames = np.random.RandomState(0).randint(0, 256, (60, 32, 32, 3)).astype(np.uint8)
    path = write_video(tmp_path / "a.mp4", frames, "mpeg4", "yuv420p", gop_size=1)  # every frame by itself
    whole = frame_pairs(path)[0]
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = bytes(5000)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"a\.mp4: a frame"):
        pairs, _ = frame_pairs(path)
    assert 20 < len(pairs) < 59
    starts = [np.abs(whole[:, 0].astype(int) - pair[0]).mean((1, 2, 3)).argmin() for pair in pairs]
    ends = [np.abs(whole[:, 1].astype(int) - pair[1]).mean((1, 2, 3)).argmin() for pair in pairs]
    assert starts == ends


def test_a_video_is_never_all_in_memory(tmp_path):
    path = write_video(tmp_path / "a.mkv", np.tile(moving(20, 96, 128), (10, 1, 1, 1)))  # 7 MB
    stream = VideoPairs(path, patch_size=8, batch_size=32, grayscale=True)
    tracemalloc.start()
    n = sum(len(pairs) for pairs, _ in stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 199
    assert peak < 1.5e6


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"")
    stream = VideoPairs(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'reading a video needs av: pip install "sklinvariant\[video\]"'):
        next(iter(stream))
