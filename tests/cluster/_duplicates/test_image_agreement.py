"""The agreement of images that lie over each other."""

import numpy as np
import pytest

from sklinvariant.cluster._duplicates._image_agreement import (
    agreement,
    contrast_of_differences,
    detail,
    largest_difference,
    thumbnail,
)

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
_SAME = np.eye(2, 3)


@pytest.fixture(scope="module")
def image():
    return cv2.resize(data.astronaut(), (300, 200), interpolation=cv2.INTER_AREA)


def test_thumbnails_keep_the_shape_of_images(image):
    assert thumbnail(image).shape == (64, 96)
    assert thumbnail(image[:, :100]).shape == (96, 48)
    assert thumbnail(image[:1, :1]).shape == (96, 96)
    assert thumbnail(image[:1]).shape == (1, 96)


def test_an_image_agrees_with_itself_in_other_colours(image):
    one = thumbnail(image)
    overlap, similarity = agreement(one, one, _SAME)
    assert overlap > 0.9  # without the border
    assert similarity == pytest.approx(1)
    darker = thumbnail(np.round(255 * (image / 255 * 0.8) ** 1.5).astype(np.uint8))
    assert agreement(one, darker, _SAME)[1] > 0.8
    assert agreement(one, 255 - one, _SAME)[1] < -0.9


@pytest.mark.parametrize(
    ("change", "matrix"),
    [
        (lambda image: image[:, ::-1], [[-1, 0, 1], [0, 1, 0]]),
        (lambda image: np.rot90(image), [[0, 1, 0], [-1, 0, 1]]),
        (lambda image: image[::2, ::2], [[1, 0, 0], [0, 1, 0]]),
        (lambda image: image[:100, :150], [[2, 0, 0], [0, 2, 0]]),
    ],
)
def test_a_map_lays_one_image_over_the_other(image, change, matrix):
    one, other = thumbnail(image), thumbnail(np.ascontiguousarray(change(image)))
    matrix = np.array(matrix, float)
    overlap, similarity = agreement(one, other, matrix)
    share = 0.25 if matrix[0, 0] == 2 else 1
    assert share * 0.85 < overlap <= share
    assert similarity > 0.75
    if (share == 1 and other.shape != one.shape) or matrix[0, 0] < 0:
        assert agreement(one, other, _SAME)[1] < 0.3


def test_a_small_difference_is_seen(image):
    """Half of the picture moved: nine tenths of the area no longer agree."""
    changed = image.copy()
    changed[:, 150:] = np.roll(image[:, 150:], 30, axis=0)
    assert agreement(thumbnail(image), thumbnail(changed), _SAME)[1] < 0.4


@pytest.mark.parametrize("matrix", [[[0, 0, 0], [0, 0, 0]], [[1, 0, 5], [0, 1, 0]]])
def test_maps_that_lead_nowhere(image, matrix):
    assert agreement(thumbnail(image), thumbnail(image), np.array(matrix, float)) == (0, 0)


def test_flat_images_agree():
    """They agree with each other, whatever their brightness, and not with others."""
    black, white = np.zeros((50, 50), np.uint8), np.full((50, 50), 255, np.uint8)
    assert agreement(black, white, _SAME)[1] == pytest.approx(1)
    noise = np.random.RandomState(0).randint(256, size=(50, 50)).astype(np.uint8)
    assert agreement(black, noise, _SAME)[1] < 0.1


def test_a_text_that_differs_is_seen_on_a_white_page():
    """It is less than a tenth of the page, but more than a tenth of what is printed on it."""
    pages = np.full((2, 300, 300, 3), 255, np.uint8)
    for page, text in zip(pages, ("Dear Ms. Brown", "Invoice 90834"), strict=True):
        cv2.putText(page, "Letterhead Ltd.", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2)
        cv2.putText(page, text, (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2)
    assert agreement(*(thumbnail(page) for page in pages), _SAME)[1] < 0.6


def test_the_largest_difference():
    one = np.zeros((20, 30), np.uint8)
    other = one.copy()
    other[5:8, 5:8] = 90
    other[15, 20] = 255  # a single pixel counts less
    assert largest_difference(one, one) == 0
    assert largest_difference(one, other) == largest_difference(other, one) == pytest.approx(90)


def _text(word):
    page = np.full((400, 500, 3), 240, np.uint8)
    for i, line in enumerate(["A letter of the council", "to all who live here", word, "is due at the end of May"]):
        cv2.putText(page, line, (30, 80 + 70 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (40, 0, 0), 1)
    return page


def test_the_detail_of_an_image():
    assert detail(np.zeros((300, 2048, 3), np.uint8)).shape == (75, 512)
    assert detail(np.zeros((300, 20, 3), np.uint8)).shape == (300, 20)


@pytest.mark.parametrize(
    "change", [lambda image: image, lambda image: image // 2 + 40, lambda image: cv2.resize(image, (250, 200))]
)
def test_another_digit_is_seen(change):
    """Whether the digit or the whole page changes, and whichever page is laid over the other."""
    one, same, other = (detail(image) for image in (_text("1834"), change(_text("1834")), change(_text("1837"))))
    for a, b in ((one, same), (same, one)):
        assert contrast_of_differences(a, b, _SAME) < 4
    for a, b in ((one, other), (other, one)):
        assert contrast_of_differences(a, b, _SAME) > 8


def test_a_tone_curve_is_no_difference(image):
    """Not even one that clips highlights."""
    brighter = np.uint8(np.clip(1.3 * image.astype(float), 0, 255))
    assert contrast_of_differences(detail(image), detail(brighter), _SAME) < 8
    assert contrast_of_differences(detail(brighter), detail(image), _SAME) < 8
    moved = image.copy()
    moved[:60, :80] = image[60:120, 80:160]
    assert contrast_of_differences(detail(image), detail(moved), _SAME) > 8


def test_blank_images_have_no_differences():
    black, white = np.zeros((50, 50), np.uint8), np.full((1, 1), 255, np.uint8)
    assert contrast_of_differences(black, white, _SAME) == contrast_of_differences(white, black, _SAME) == 0
