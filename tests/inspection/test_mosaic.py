"""Images in rows and columns, and the scaling of each."""

import numpy as np
import pytest

from sklinvariant.inspection import around_grey, mosaic
from sklinvariant.inspection._mosaic import label_rows, new_axes, stretched


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize(("n", "columns"), [(6, 3), (5, 2), (1, 1)])
def test_tiles_are_one_pixel_apart(n, columns, channels):
    tiles = np.arange(n * 2 * 3 * max(1, sum(channels)), dtype=float).reshape(n, 2, 3, *channels)
    image = mosaic(tiles, columns, fill=-1)
    seen = np.zeros(image.shape[:2], bool)
    for i, tile in enumerate(tiles):
        top, left = 3 * (i // columns), 4 * (i % columns)
        np.testing.assert_array_equal(image[top : top + 2, left : left + 3], tile)
        seen[top : top + 2, left : left + 3] = True
    assert (image[~seen] == -1).all()
    assert image.shape[:2] == (3 * -(-n // columns) - 1, 4 * columns - 1)


def test_each_tile_is_scaled_by_its_own_range():
    tiles = np.array([[[0.0, 10.0]], [[-1.0, -3.0]], [[5.0, 5.0]]])
    np.testing.assert_allclose(stretched(tiles), [[[0, 1]], [[1, 0]], [[0, 0]]])
    np.testing.assert_allclose(around_grey(tiles), [[[0.5, 1]], [[1 / 3, 0]], [[1, 1]]])
    np.testing.assert_allclose(around_grey(np.zeros((1, 1, 2))), [[[0.5, 0.5]]])


def test_axes_have_the_proportions_of_the_image(pyplot):
    width, height = new_axes(np.zeros((20, 80)), longest=8).figure.get_size_inches()
    assert (width, height) == (8, 2.6)  # with 0.6 inches for the title and the labels


def test_rows_are_labelled_in_their_middle(pyplot):
    ax = pyplot.gca()
    label_rows(ax, ["a", "b"], 5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_yticks().tolist() == [2, 8]
    assert not ax.get_xticks().size
