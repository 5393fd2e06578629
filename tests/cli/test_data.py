"""The images that ``--data`` names."""

import numpy as np
import pytest

from sklinvariant.cli._data import load_data


def test_digits_files_and_folders(tmp_path, capsys):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    assert load_data("digits").images.shape == (1797, 8, 8)
    np.savez(tmp_path / "data.npz", images=np.zeros((3, 5, 5)), target=[0, 1, 1])
    assert load_data(str(tmp_path / "data.npz")).target.tolist() == [0, 1, 1]
    for name in ("a", "b"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "folder" / name / "0.png"), np.zeros((9, 9), np.uint8))
    (tmp_path / "folder" / "b" / "bad.png").write_bytes(b"bad")
    assert len(load_data(str(tmp_path / "folder")).images) == 2
    assert capsys.readouterr().err.startswith("sklinvariant: ")  # a warning as one line


def test_a_name_that_is_neither():
    with pytest.raises(FileNotFoundError, match=r"--data nowhere: no such file or folder. Pass a file, .* cifar10"):
        load_data("nowhere")
