"""Loaders: what they read, and what they say of what they cannot."""

import numpy as np
import pytest
from tolerance import assert_close

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


@pytest.mark.parametrize("make", [datasets.make_concentric, datasets.make_checkers])
def test_synthetic(make):
    bags, y = make(10, n_descriptors=7, random_state=1)
    assert bags.shape == (10, 7, 2)
    assert y.sum() == 5
    assert_close(make(10, n_descriptors=7, random_state=1)[0], bags)
