"""Key points: their codes do not depend on rotation and scale, and an alignment finds the map between two images."""

import numpy as np
import pytest

from sklinvariant.images import NO_KEYPOINTS, Keypoints, align, find_keypoints

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")


@pytest.fixture(scope="module")
def astronaut():
    return cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)


def _turned(image, angle, scale=1.0):
    """The image rotated and scaled about its centre, and the (2, 3) map of places to which it corresponds."""
    side = len(image)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, scale)
    places = matrix.copy()
    places[:, 2] /= side
    return cv2.warpAffine(image, matrix, (side, side)), places


@pytest.mark.parametrize(("angle", "scale"), [(0, 1.0), (33, 1.0), (90, 1.0), (-120, 0.7), (10, 1.4)])
def test_an_alignment_is_the_map_between_the_images(astronaut, angle, scale):
    changed, places = _turned(astronaut, angle, scale)
    one, other = find_keypoints(astronaut, 300), find_keypoints(changed, 300)
    found = align(one, other)
    assert found.n_matches > 60
    corners = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    assert np.abs(corners @ (found.matrix - places).T).max() < 0.03  # of the side


def test_key_points_of_the_mirror_image(astronaut):
    """Mirroring the key points is the same as finding those of the mirrored image."""
    one, other = find_keypoints(astronaut, 300), find_keypoints(astronaut[:, ::-1].copy(), 300)
    found = align(one.mirrored(), other)
    assert found.n_matches > 0.9 * len(one.codes)
    np.testing.assert_allclose(found.matrix, [[1, 0, 1], [0, 1, 0]], atol=0.001)
    assert align(one, other).n_matches < found.n_matches / 5  # the picture is partly symmetric
    np.testing.assert_array_equal(one.mirrored().mirrored().codes, one.codes)


def test_unrelated_images_share_no_key_points(astronaut):
    images = [astronaut, data.chelsea(), data.coffee(), data.camera()[..., None].repeat(3, axis=2)]
    keypoints = [find_keypoints(image, 300) for image in images]
    for i, one in enumerate(keypoints):
        for other in keypoints[:i]:
            assert max(align(one, other).n_matches, align(one.mirrored(), other).n_matches) < 10


@pytest.mark.parametrize("shape", [(40, 60, 3), (3, 3, 3), (2, 900, 3), (1, 1, 3)])
def test_images_without_key_points(shape, astronaut):
    none = find_keypoints(np.full(shape, 90, np.uint8), 300)
    assert (none.places.shape, none.codes.shape) == ((0, 4), (0, 16))
    some = find_keypoints(astronaut, 300)
    assert align(none, some).n_matches == align(some, NO_KEYPOINTS).n_matches == 0
    assert none.mirrored().codes.shape == (0, 16)


def test_the_strongest_key_points_are_kept(astronaut):
    few, many = find_keypoints(astronaut, 20), find_keypoints(astronaut, 300)
    assert (len(few.places), len(many.places)) == (20, 300)
    assert align(few, many).n_matches >= 19


def test_the_strongest_key_points_come_first():
    """Dots of rising contrast, from left to right."""
    image = np.full((100, 500, 3), 128, np.uint8)
    for i in range(5):
        cv2.circle(image, (50 + 100 * i, 50), 12, (148 + 25 * i,) * 3, -1)
    image = cv2.GaussianBlur(image, None, 4)
    x = find_keypoints(image, 300).places[:, 0]
    assert x[0] > 0.8
    assert x[-1] < 0.5


def test_places_are_shares_of_the_longer_side(astronaut):
    """A large image is reduced first, so that its key points are those of the small image."""
    large = cv2.resize(astronaut, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    found = align(find_keypoints(small, 300), find_keypoints(large, 300))
    assert found.n_matches > 200
    np.testing.assert_allclose(found.matrix, np.eye(2, 3), atol=0.01)


def test_one_match_and_equal_places():
    """Such alignments are not unique, but cause no error and no warning."""
    code = np.random.RandomState(0).randint(256, size=(1, 16)).astype(np.uint8)
    one = Keypoints(np.array([[0.5, 0.5, -4, 1]], np.float16), code)
    assert align(one, one).n_matches == 1
    codes = np.random.RandomState(1).randint(256, size=(9, 16)).astype(np.uint8)
    same = Keypoints(np.repeat(one.places, 9, axis=0), codes)
    assert align(same, same).n_matches == 9
