"""Loaders: the formats that they read, and the errors for others."""

import numpy as np
import pytest

from sklinvariant import datasets


def test_digits():
    data = datasets.load_digits_images()
    assert data.images.shape == (1797, 8, 8)
    assert data.images.dtype == np.float32
    assert data.images.max() == 1


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((3, 4, 4)), y_train=[0, 1, 1])
    assert datasets.load_npz(tmp_path / "a.npz").images.shape == (3, 4, 4)
    np.savez(tmp_path / "b.npz", photos=np.zeros((3, 4, 4)))
    with pytest.raises(ValueError, match="but one of"):
        datasets.load_npz(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", x=np.zeros((3, 4, 4)), y=[0])
    with pytest.raises(ValueError, match="3 images but 1 labels"):
        datasets.load_npz(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_text("no")
    with pytest.raises(ValueError, match=r"cannot be read as an .npz file"):
        datasets.load_npz(tmp_path / "d.npz")


def test_image_folder_skips_and_names_what_it_cannot_read(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.zeros((9, 7, 3), np.uint8))
    (tmp_path / "dogs" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "dogs" / "empty.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"skipped 2 .*broken.jpg"):
        data = datasets.load_image_folder(tmp_path, image_size=(8, 6))
    assert data.images.shape == (2, 8, 6, 3)
    assert data.target_names == ["cats", "dogs"]
    assert len(data.skipped) == 2
    with pytest.raises(FileNotFoundError):
        datasets.load_image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no subfolders"):
        datasets.load_image_folder(tmp_path / "cats")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((3, 4)), "y": [0, 1, 1]}, r"shape \(3, 4\), but \(n, h, w\[, c\]\)"),
        ({"x": np.zeros((3, 4, 4)), "y": np.eye(3)}, r"labels of shape \(3, 3\), but \(n,\)"),
        ({"x": np.zeros((3, 4, 4)), "z": [0]}, r"contains \['x', 'z'\], but one of \['target'"),
        ({"x": np.array([None, "a"]), "y": [0, 1]}, "numeric arrays"),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        datasets.load_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("damage", ["array", "truncated", "empty"])
def test_npz_that_is_none(tmp_path, damage):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.arange(4000).reshape(10, 20, 20), target=np.arange(10))
    if damage == "array":
        np.save(path.with_suffix(".npy"), np.zeros(3))
        path = path.with_suffix(".npy")
    else:
        path.write_bytes(path.read_bytes()[: 4000 if damage == "truncated" else 0])
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        datasets.load_npz(path)
    with pytest.raises(FileNotFoundError):
        datasets.load_npz(tmp_path / "nowhere.npz")


def test_npz_names_and_columns(tmp_path):
    np.savez(tmp_path / "a.npz", X_train=np.zeros((3, 4, 4)), LABELS=[[0], [1], [1]])
    images, target = datasets.load_npz(tmp_path / "a.npz", return_X_y=True)
    assert images.shape == (3, 4, 4)
    assert target.tolist() == [0, 1, 1]


def test_folder_of_images_of_any_size(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        image = np.zeros((5 + i, 7, 3), np.uint8)
        image[..., 2] = 255  # red, in OpenCV's order
        cv2.imwrite(str(tmp_path / name / "1.png"), image)
    images, target = datasets.load_image_folder(tmp_path, None, return_X_y=True)
    assert [image.shape for image in images] == [(5, 7, 3), (6, 7, 3)]
    assert images[0][0, 0].tolist() == [255, 0, 0]
    assert target.tolist() == [0, 1]
    assert datasets.load_image_folder(tmp_path, 4).images.shape == (2, 4, 4, 3)
