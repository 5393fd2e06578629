"""Pairs of frames from arrays, images and videos: positions of the patches, and damaged files."""

import itertools
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from examples import moving, recorded
from sklearn.model_selection import GroupKFold
from tolerance import assert_close

from sklinvariant.datasets import VideoPairs, frame_pairs

STATIC = np.full((6, 12, 16), 0.5)


@pytest.fixture
def clip(global_random_seed):
    """30 different frames of 24 x 32 pixels."""
    return np.random.RandomState(global_random_seed).randint(0, 256, (30, 24, 32)).astype(np.uint8)


def place_of(patch, frames):
    """(t, y, x) of a patch in frames, found by exhaustive search."""
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
