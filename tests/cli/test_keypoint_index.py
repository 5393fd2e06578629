"""Key points of an index: votes and verification, and the arrays that are read from files."""

import numpy as np
import pytest

from sklinvariant.cli import _keypoint_index as _keypoint_index
from sklinvariant.cli._keypoint_index import KeypointIndex, check_places, pack, unpack
from sklinvariant.images import NO_KEYPOINTS, Keypoints
from sklinvariant.neighbors import HammingNeighbors

pytest.importorskip("faiss", reason="faiss is not installed")


def _keypoints(seed, n=40):
    rng = np.random.RandomState(seed)
    places = np.column_stack([rng.rand(n, 2), rng.uniform(-6, -3, n), rng.uniform(0, 6, n)])
    return Keypoints(places.astype(np.float16), rng.randint(256, size=(n, 16)).astype(np.uint8))


@pytest.fixture
def photos():
    return [_keypoints(0), NO_KEYPOINTS, _keypoints(2, 25), _keypoints(3), NO_KEYPOINTS]


@pytest.fixture
def index(photos):
    arrays = pack(photos)
    return KeypointIndex(HammingNeighbors(packed=True).fit(arrays["codes"]), arrays["places"], arrays["counts"])


@pytest.mark.parametrize("row", [0, 2, 3])
def test_a_photograph_and_its_mirror_image_are_found(index, photos, row):
    everything = {row: len(photos[row].codes)}
    assert index.matches(photos[row]) == everything
    assert index.matches(photos[row].mirrored()) == everything


def test_equal_codes_at_other_places_are_refuted(index, photos):
    rng = np.random.RandomState(5)
    shuffled = Keypoints(photos[0].places[rng.permutation(40)], photos[0].codes)
    assert index.matches(shuffled) == {}


def test_images_without_key_points_match_nothing(index, photos):
    assert index.matches(NO_KEYPOINTS) == {}
    empty = KeypointIndex(index.codes, index.places[:0], index.counts * 0)
    assert empty.matches(photos[0]) == {}


def test_only_the_photographs_with_most_votes_are_verified(photos, monkeypatch):
    photos = [Keypoints(photos[0].places[:n], photos[0].codes[:n]) for n in (12, 40, 20)]
    arrays = pack(photos)
    index = KeypointIndex(HammingNeighbors(packed=True).fit(arrays["codes"]), arrays["places"], arrays["counts"])
    assert index.matches(photos[1]) == {0: 12, 1: 40, 2: 20}
    monkeypatch.setattr(_keypoint_index, "_N_LISTED", 1)
    assert index.matches(photos[1]) == {1: 40}


def test_arrays_are_read_as_they_were_written(photos):
    back = unpack(pack(photos), len(photos))
    assert len(back) == len(photos)
    for one, other in zip(photos, back, strict=True):
        np.testing.assert_array_equal(one.places, other.places)
        np.testing.assert_array_equal(one.codes, other.codes)
    assert all(len(one.codes) == 0 for one in unpack(pack([NO_KEYPOINTS] * 2), 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": np.array([40, 0, 25, 41, 0])},
        {"counts": np.array([40, 0, 65])},
        {"counts": np.array([40, -5, 30, 40, 0])},
        {"counts": np.array([1 << 62, 1 << 62, 1 << 62, 1 << 62, 105])},
        {"counts": np.array([40.0, 0, 25, 40, 0])},
        {"places": np.zeros((105, 3), np.float16)},
        {"places": np.zeros((105, 4))},
        {"places": np.full((105, 4), np.nan, np.float16)},
        {"codes": np.zeros((104, 16), np.uint8)},
        {"codes": np.zeros((105, 16), np.int8)},
    ],
)
def test_arrays_of_other_programs_are_refused(photos, changes):
    arrays = pack(photos)
    check_places(arrays["places"], arrays["counts"], 5)
    with pytest.raises(ValueError, match="key points"):
        unpack(arrays | changes, 5)
