"""Pairs of frames: what is cut from where, from arrays, images and videos, broken ones too."""

import itertools
import pickle
import struct
import sys
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold
from tolerance import assert_close

from sklinvariant.datasets import VideoPairs, frame_pairs

STATIC = np.full((6, 12, 16), 0.5)


@pytest.fixture
def clip(global_random_seed):
    """30 frames of 24 x 32 pixels, each its own."""
    return np.random.RandomState(global_random_seed).randint(0, 256, (30, 24, 32)).astype(np.uint8)


def moving(n=40, h=48, w=64):
    """A bright bar that moves by 1 pixel a frame over a ramp, RGB."""
    frames = np.zeros((n, h, w, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 200, h)[:, None]
    frames[..., 2] = np.linspace(0, 200, w)
    for t in range(n):
        frames[t, :, t : t + 6] = 255
    return frames


def write_video(path, frames, codec="ffv1", pix_fmt="bgr0", times=None, gop_size=12):
    """ffv1 in an .avi or .mkv keeps every pixel."""
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


def recorded(stream):
    """All batches, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return list(stream), [str(warning.message) for warning in caught]


def place_of(patch, frames):
    """(t, y, x) of a patch in frames, by looking everywhere."""
    windows = np.lib.stride_tricks.sliding_window_view(frames, patch.shape, axis=(1, 2))
    return np.argwhere((windows == patch).all((-2, -1)))[0]


@pytest.mark.parametrize(("length", "step"), [(2, 1), (2, 3), (4, 1), (3, 2)])
def test_whole_frames_are_the_windows_in_order(clip, length, step):
    pairs, groups = frame_pairs(clip, length=length, step=step)
    n = len(clip) - (length - 1) * step
    np.testing.assert_array_equal(pairs, [clip[t : t + length * step : step][:length] for t in range(n)])
    assert pairs.dtype == np.uint8
    assert (groups == 0).all()


def test_a_patch_lies_at_one_place_in_all_frames(clip):
    pairs, _ = frame_pairs(clip, length=3, step=2, patch_size=(5, 7), pairs_per_frame=3, random_state=0)
    assert pairs.shape == (3 * 26, 3, 5, 7)
    places = np.array([[place_of(patch, clip) for patch in sequence] for sequence in pairs])
    assert (np.diff(places[..., 0], axis=1) == 2).all()
    assert (places[:, :, 1:] == places[:, :1, 1:]).all()
    assert (np.bincount(places[:, 0, 0]) == 3).all()


def test_every_place_is_as_likely(clip):
    pairs, _ = frame_pairs(clip, patch_size=(22, 30), pairs_per_frame=200, random_state=0)
    places = np.array([place_of(pair[0], clip)[1:] for pair in pairs[::4]])
    counts = np.bincount(places[:, 0] * 3 + places[:, 1])
    assert len(counts) == 9  # the border is reached
    assert counts.min() > 0.7 * counts.mean()


def test_seeded_and_the_same_again(clip):
    first, second = (VideoPairs(clip, patch_size=6, n_pairs=50, random_state=seed) for seed in (0, 1))
    (a,), (b,), (c,) = list(first), list(first), list(second)
    np.testing.assert_array_equal(a[0], b[0])
    assert (a[0] != c[0]).any()
    unseeded = VideoPairs(clip, patch_size=6)
    before = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(next(iter(unseeded))[0], next(iter(unseeded))[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(next(iter(pickle.loads(pickle.dumps(unseeded))))[0], next(iter(unseeded))[0])


@pytest.mark.parametrize("n_pairs", [1, 17, 40, 500])
def test_n_pairs_over_all_clips(clip, n_pairs):
    pairs, groups = frame_pairs([clip, clip[:11]], patch_size=4, n_pairs=n_pairs, random_state=0)
    assert pairs.shape == (n_pairs, 2, 4, 4)
    assert abs((groups == 0).sum() - n_pairs * 29 / 39) <= 1 + n_pairs**0.5
    stream = VideoPairs([clip, clip[:11]], patch_size=4, n_pairs=n_pairs, batch_size=16)
    assert len(stream) == len(list(stream)) == -(-n_pairs // 16)


def test_n_pairs_of_whole_frames_are_different_ones(clip):
    pairs, _ = frame_pairs(clip, n_pairs=12, random_state=0)
    starts = [place_of(pair[0], clip)[0] for pair in pairs]
    assert len(set(starts)) == 12
    assert starts == sorted(starts)
    stream = VideoPairs(clip, n_pairs=100)
    assert len(stream) == 1
    with pytest.warns(UserWarning, match="the clips contain only 29 pairs, fewer than n_pairs=100"):
        assert len(next(iter([pairs for pairs, _ in stream]))) == 29


def test_a_part_of_the_frames(clip):
    many = np.tile(clip, (20, 1, 1))
    pairs, _ = frame_pairs(many, pairs_per_frame=0.25, random_state=0)
    assert 110 < len(pairs) < 190
    with pytest.raises(TypeError, match="number of pairs is random"):
        len(VideoPairs(many, pairs_per_frame=0.25))
    assert len(VideoPairs(many, pairs_per_frame=3, patch_size=4, batch_size=100)) == 18
    assert len(VideoPairs(many, pairs_per_frame=3.5, batch_size=100)) == 6  # whole frames: each once


def test_batches_and_clips(clip):
    batches = list(VideoPairs([clip[:5], clip, clip[:1]], batch_size=8))
    assert [len(pairs) for pairs, _ in batches] == [8, 8, 8, 8, 1]
    groups = np.concatenate([clips for _, clips in batches])
    assert groups.tolist() == [0] * 4 + [1] * 29
    pairs, groups = frame_pairs([clip] * 4, patch_size=4)
    for train, test in GroupKFold(2).split(pairs, groups=groups):
        assert not set(groups[train]) & set(groups[test])


def test_size_and_grayscale():
    frames = moving(4)
    pairs, _ = frame_pairs(frames, grayscale=True)
    expected = frames[:-1] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pairs[:, 0] - expected).max() <= 0.51
    floats, _ = frame_pairs(frames / 255, grayscale=True)
    assert floats.dtype == np.float64
    np.testing.assert_allclose(floats[:, 0], expected / 255)
    for size, shape in ((24, (24, 32)), ((24, 16), (24, 16)), (48, (48, 64))):
        assert frame_pairs(frames, image_size=size)[0].shape == (3, 2, *shape, 3)
    flat = np.full((3, 40, 31, 3), 77, np.uint8)
    assert (frame_pairs(flat, image_size=13)[0] == 77).all()
    halves = frame_pairs(frames[..., 0], image_size=24)[0][:, 0]  # a mean of neighbours, the ramp stays a ramp
    np.testing.assert_allclose(halves[0, 2:-2, 20], frames[0, 4:-4, 40, 0].reshape(-1, 2).mean(1), atol=1.5)


def test_static_pairs_are_left_out(clip):
    still = clip.copy()
    still[10:20] = still[10]
    pairs, _ = frame_pairs(still, min_change=1e-6)
    assert len(pairs) == 29 - 9
    assert (pairs[:, 0] != pairs[:, 1]).any((1, 2)).all()
    still = clip.copy()
    still[:, :, :28] = 9  # moves only at the right border: places are drawn anew
    pairs, _ = frame_pairs(still, patch_size=4, n_pairs=60, min_change=1e-6, random_state=0)
    assert len(pairs) == 60
    assert (pairs[:, 0] != pairs[:, 1]).any((1, 2)).all()


def test_patches_of_one_colour_are_left_out():
    frames = np.random.RandomState(0).rand(20, 10, 10)
    frames[::4] = frames[::4, :1, :1]  # brightness flickers, nothing is seen
    pairs, _ = frame_pairs(frames, min_contrast=0.1)
    assert len(pairs) == 10
    assert (pairs.std((2, 3)) > 0.1).all()


def test_no_sequence_goes_over_a_cut():
    frames = np.random.RandomState(0).rand(20, 10, 10) * 0.1
    frames[8:] += 0.8
    pairs, _ = frame_pairs(frames, length=3, step=2, max_change=0.3)
    assert len(pairs) == (8 - 4) + (12 - 4)
    assert (np.abs(np.diff(pairs, axis=1)).mean((2, 3)) < 0.3).all()
    with pytest.raises(TypeError, match="filters"):
        len(VideoPairs(frames, max_change=0.3))


@pytest.mark.parametrize(
    ("source", "options"),
    [(STATIC, {"min_change": 0.01}), (STATIC, {"min_contrast": 0.01, "patch_size": 4}), (STATIC[:1], {})],
)
def test_no_pair_is_an_error(source, options):
    for n_pairs in (None, 1000):
        with pytest.raises(ValueError, match=r"no pair in 1 clip\(s\)\. All clips are too short, or fail the filters"):
            frame_pairs(source, n_pairs=n_pairs, **options)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (STATIC[0], {}, r"source is an array of shape \(12, 16\)"),
        (3, {}, "source has type int"),
        ([], {}, "empty list"),
        (STATIC, {"length": 1}, "'length' parameter"),
        (STATIC, {"patch_size": 0}, "'patch_size' parameter"),
        (STATIC, {"patch_size": (1, 2, 3)}, "patch_size must be"),
        (STATIC, {"image_size": (0, 2)}, "image_size must be"),
        (STATIC, {"on_error": "ignore"}, "'on_error' parameter"),
        (STATIC, {"pairs_per_frame": 0}, "'pairs_per_frame' parameter"),
        ([STATIC, STATIC[:, :5]], {}, r"clip 1 has frames of shape \(5, 16\) and dtype float64"),
        ([STATIC, STATIC.astype("f4")], {"patch_size": 3}, "type float32"),
        (STATIC.astype(bool), {"on_error": "raise"}, "image 0|real numbers"),
    ],
)
def test_bad_input(source, options, message):
    with pytest.raises(ValueError, match=message):
        list(VideoPairs(source, **options))


def test_bad_frames_are_reported_and_the_rest_is_used():
    frames = np.random.RandomState(0).rand(10, 4, 4)
    frames[4] = np.nan
    stream = VideoPairs([frames[:, :2], frames], patch_size=3)
    ((pairs, clips),), said = recorded(stream)
    assert said == [
        "clip 0: has frames of (2, 4) pixels, smaller than patch_size=(3, 3), and 9 more. These frames are skipped",
        "clip 1: image 4 contains NaN or infinity. These frames are skipped",
    ]
    assert len(pairs) == 3 + 4
    assert np.isfinite(pairs).all()
    assert (clips == 1).all()
    assert stream.failed[-1] == ("clip 1", "image 4 contains NaN or infinity")
    with pytest.raises(ValueError, match=r"clip 1: image 4 contains NaN"):
        frame_pairs([frames[:2], frames], on_error="raise")


def test_memory_mapped_frames_are_never_all_in_memory(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (400, 100, 200))
    array[:] = np.arange(400, dtype=np.uint8)[:, None, None]
    stream = VideoPairs(np.load(tmp_path / "a.npy", mmap_mode="r"), patch_size=8, batch_size=32)
    tracemalloc.start()
    n = sum(len(pairs) for pairs, _ in stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 399
    assert peak < 1e6  # of 8e6


def test_tensors(clip):
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(frame_pairs(torch.from_numpy(clip))[0], frame_pairs(clip)[0])


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


def test_natural_videos(shared_data, tmp_path):
    pytest.importorskip("av")
    wanted = ("bikes", "realshort", "newtonscradle", "eat.mkv", "carphone")
    with zipfile.ZipFile(shared_data / "videos.zip") as archive:
        for name in archive.namelist():
            if any(word in name for word in wanted):
                archive.extract(name, tmp_path)
    options = {"patch_size": 16, "grayscale": True, "n_pairs": 600, "random_state": 0}
    pairs, groups = frame_pairs(tmp_path, **options, min_change=0.01, max_change=0.3, min_contrast=0.02)
    assert pairs.shape == (600, 2, 16, 16)
    assert set(groups) == set(range(5))
    pixels = pairs / 255
    consecutive = np.abs(pixels[:, 0] - pixels[:, 1]).mean()
    random = np.abs(pixels[:, 0] - np.roll(pixels[:, 1], 300, axis=0)).mean()
    assert 0.01 < consecutive < 0.5 * random


def test_natural_images(shared_data, tmp_path):
    pytest.importorskip("cv2")
    with zipfile.ZipFile(shared_data / "davis16_256.zip") as archive:
        names = [name for name in archive.namelist() if name.startswith("frames/")]
        for _, clip in itertools.groupby(names, lambda name: name.split("/")[1]):
            archive.extractall(tmp_path, list(clip)[:5])
    pairs, groups = frame_pairs(tmp_path / "frames", image_size=72)
    assert pairs.shape == (80, 2, 72, 128, 3)
    assert (np.bincount(groups) == 4).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_floats_are_read_as_float32(clip, dtype):
    frames = torch.from_numpy(clip / 255).to(dtype)
    pairs, _ = frame_pairs(frames, image_size=12, min_change=0.001)
    expected, _ = frame_pairs(frames.float(), image_size=12, min_change=0.001)
    assert pairs.dtype == np.float32
    assert_close(pairs, expected)
