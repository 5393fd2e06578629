"""Batches of images of any size: order, squares, files that cannot be read."""

import numpy as np
import pytest
import torch

from sklinvariant import NestedInvariancePooler
from sklinvariant.images import ImageStream, StreamReader
from sklinvariant.images._pixels import fit_into


@pytest.fixture
def images(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return [rng.randint(255, size=(h, w, 3)).astype(np.uint8) for h, w in ((9, 7), (5, 12), (8, 8), (6, 6), (7, 3))]


@pytest.fixture
def files(images, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    names = [str(tmp_path / f"{i}.png") for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        cv2.imwrite(name, image[..., ::-1])
    return names


def stream_of(X, image_size, on_error="raise"):
    """The stream that the reader of a pooler returns for X."""
    pooler = NestedInvariancePooler("resnet18", image_size=image_size, on_error=on_error)
    return StreamReader().read(pooler, X, reset=True).data


@pytest.mark.parametrize("size", [1, 2, 5, 9])
@pytest.mark.parametrize("kind", ["files", "images"])
def test_batches_hold_each_image_once_in_its_square(images, files, kind, size):
    stream = stream_of(files if kind == "files" else images, 6)
    assert len(stream) == 5
    batches = list(stream.batches(size))
    assert [len(rows) for rows, _ in batches] == [len(part) for part in np.split(np.arange(5), range(size, 5, size))]
    assert [row for rows, _ in batches for row in rows] == list(range(5))
    for image, square in zip(images, torch.cat([batch for _, batch in batches]), strict=True):
        np.testing.assert_array_equal(square, fit_into(image, 6, "mean"))


def test_a_tensor_of_images_is_sliced():
    images = torch.arange(5 * 2 * 2).reshape(5, 2, 2, 1)
    parts = [batch for _, batch in ImageStream(images, None, "mean").batches(2)]
    assert torch.equal(torch.cat(parts), images)
    assert parts[0].data_ptr() == images.data_ptr()  # no copy


def test_files_that_cannot_be_read_are_named(files):
    with open(files[1], "wb") as file:
        file.write(b"not an image")
    with pytest.raises(ValueError, match=r"image 1: .*1\.png"):
        list(stream_of(files, 6).batches(2))
    stream = stream_of(files, 6, on_error="nan")
    assert [row for rows, _ in stream.batches(2) for row in rows] == [0, 2, 3, 4]
    assert [row for row, _ in stream.failed] == [1]
    with pytest.warns(UserWarning, match="Pooler: 1 of 5 images were not read: image 1: "):
        stream.warn_of_failures("Pooler")


def test_some_evenly_spaced_images(images):
    stream = stream_of(images, 6)
    assert stream.some(5) is stream
    some = stream.some(3)
    assert some.rows.tolist() == [0, 2, 4]
    (_, squares), *_ = some.batches(3)
    np.testing.assert_array_equal(squares[1], fit_into(images[2], 6, "mean"))


def test_what_needs_a_size(images, files):
    with pytest.raises(ValueError, match="X holds file names, but image_size is None"):
        stream_of(files, None)
    with pytest.raises(ValueError, match="the images differ in size"):
        stream_of(images, None)
    with pytest.raises(ValueError, match=r"image 1 has 1 channel\(s\), but image 0 has 3"):
        stream_of([images[0], images[1][..., 0]], 6)
    tensors = [torch.as_tensor(image) for image in (images[0], images[1][..., 0])]
    with pytest.raises(ValueError, match=r"image 1 has 1 channel\(s\), but image 0 has 3"):
        list(ImageStream(tensors, 6, "mean").batches(2))


def test_images_are_looked_at_in_their_full_size(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    files = [str(tmp_path / f"{i}.png") for i in range(3)]
    for i in (0, 2):
        cv2.imwrite(files[i], np.zeros((20 + i, 30, 3), np.uint8))
    stream = ImageStream(files, 8, "mean", on_error="nan", look=lambda image: image.shape)
    assert [list(rows) for rows, _ in stream.batches(2)] == [[0], [2]]
    assert stream.seen == {0: (20, 30, 3), 2: (22, 30, 3)}
