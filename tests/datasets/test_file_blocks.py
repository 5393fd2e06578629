"""Blocks of the rows of files."""

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from tolerance import assert_close

from sklinvariant.aggregation import VLAD
from sklinvariant.datasets import read_blocks
from sklinvariant.feature_extraction import ConvolutionalFeatures
from sklinvariant.hashing import PCAHasher


@pytest.fixture
def X():
    return np.random.RandomState(0).normal(size=(50, 3)).astype(np.float32)


def _check(blocks, X, sizes):
    for _ in range(2):  # they can be read again
        parts = list(blocks)
        assert [len(part) for part in parts] == sizes
        np.testing.assert_array_equal(np.concatenate(parts), X)


def test_a_folder_of_arrays(X, tmp_path):
    for name, rows in (("b", X[20:]), ("a", X[:20])):
        np.save(tmp_path / f"{name}.npy", rows)
    (tmp_path / "notes.txt").write_text("not read")
    _check(read_blocks(tmp_path, block_size=15), X, [15, 5, 15, 15])
    _check(read_blocks([str(tmp_path / "a.npy"), tmp_path / "b.npy"]), X, [20, 30])
    assert "2 file(s)" in repr(read_blocks(tmp_path))
    hasher = PCAHasher(2).fit(read_blocks(tmp_path, block_size=7))
    assert_close(hasher.decision_function(X), PCAHasher(2).fit(X).decision_function(X))


def test_a_file_of_bags(X, tmp_path):
    np.save(tmp_path / "bags.npy", X.reshape(10, 5, 3))
    model = VLAD(2, random_state=0).fit(read_blocks(tmp_path / "bags.npy", block_size=4))
    assert_close(model.codebook_, VLAD(2, random_state=0).fit(X.reshape(10, 5, 3)).codebook_)


@pytest.mark.parametrize("as_vectors", [False, True])
def test_parquet(X, tmp_path, as_vectors):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow was built without Parquet")
    columns = {"v": list(X)} if as_vectors else {"x": X[:, 0], "y": X[:, 1], "z": X[:, 2]}
    table = pyarrow.table({"name": ["row"] * 50, **columns})
    parquet.write_table(table, tmp_path / "rows.parquet")
    _check(read_blocks(tmp_path, block_size=20, columns=list(columns)), X, [20, 20, 10])
    with pytest.raises(ValueError, match=r"no columns \['w'\]"):
        list(read_blocks(tmp_path, columns=["w"]))


def test_errors(X, tmp_path):
    with pytest.raises(ValueError, match=r"contains no \.npy or \.parquet files"):
        read_blocks(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.npy does not exist"):
        read_blocks(tmp_path / "none.npy")
    with pytest.raises(FileNotFoundError, match=r"none does not exist"):
        read_blocks(tmp_path / "none")
    (tmp_path / "rows.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"neither a \.npy nor a \.parquet"):
        read_blocks(tmp_path / "rows.csv")
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(ValueError, match="block_size"):
        read_blocks(tmp_path, block_size=0)
    np.save(tmp_path / "b.npy", X[:, 0])
    with pytest.raises(ValueError, match=r"rows \(n, d\) or bags") as caught:
        PCAHasher(2).fit(read_blocks(tmp_path))
    assert [note for note in caught.value.__notes__ if "b.npy was being read" in note]


def test_folders_of_images(tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    images = np.random.RandomState(0).randint(256, size=(5, 8, 9, 3)).astype(np.uint8)
    for i, image in enumerate(images):
        folder = tmp_path / f"class {i // 3}"
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.PNG"), image[..., ::-1])
    blocks = read_blocks(tmp_path, block_size=2)
    _check(blocks, images, [2, 2, 1])
    features = ConvolutionalFeatures(MiniBatchKMeans(3, n_init=1), patch_size=4, random_state=0)
    for block in blocks:
        features.partial_fit(block)
    assert features.transform(images).shape == (5, 5, 6, 3)
    cv2.imwrite(str(tmp_path / "a.jpg"), images[0, :4])
    first, *_ = read_blocks(tmp_path, block_size=2)
    assert [image.shape for image in first] == [(4, 9, 3), (8, 9, 3)]
    (tmp_path / "b.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"b\.jpg cannot be read as an image"):
        list(read_blocks(tmp_path))
    np.save(tmp_path / "rows.npy", images)
    with pytest.raises(ValueError, match="contains images and other files"):
        read_blocks([tmp_path / "a.jpg", tmp_path / "rows.npy"])
    assert len(list(read_blocks(tmp_path))) == 1  # the array
