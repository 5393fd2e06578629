"""Warnings name the line that called the package, whatever the number of calls between."""

import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import write_images
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklinvariant
from sklinvariant import (
    AutoPooling,
    BagOfWords,
    ConsensusClusterer,
    DuplicateImages,
    HammingNeighbors,
    IICClusterer,
    IICSegmenter,
    NestedInvariancePooler,
    OverclusteringClassifier,
    SlowFeatures,
    SparseAutoencoder,
    TEMIClusterer,
)
from sklinvariant.datasets import load_image_folder

ROWS = np.random.RandomState(0).rand(40, 3)
EQUAL = np.ones((40, 3))


def _photos(folder):
    write_images(folder / "photos" / "class")
    (folder / "photos" / "class" / "bad.png").write_bytes(b"nothing")
    return folder / "photos"


def _duplicates(folder):
    pytest.importorskip("faiss", reason="faiss is not installed")
    DuplicateImages().fit(_photos(folder))


def _pooler(folder):
    NestedInvariancePooler(torch.nn.Conv2d(3, 2, 3), image_size=8, on_error="nan").fit_transform(_photos(folder))


def _neighbors(folder):
    pytest.importorskip("faiss", reason="faiss is not installed")
    HammingNeighbors().fit(np.ones((5, 8), np.uint8))


def _checkpoint(folder):
    (folder / "file").mkdir()
    SparseAutoencoder(2, max_epochs=1, checkpoint=folder / "file").fit(ROWS)


OF_OTHERS = DeprecationWarning, FutureWarning, ResourceWarning  # depend on the versions of other packages
WARNINGS = {
    "no convergence": lambda folder: AutoPooling(2, max_iter=1).fit(ROWS, groups=np.arange(40) // 4),
    "checkpoint of moments": lambda folder: AutoPooling(2, checkpoint=folder / "file").fit(ROWS, groups=[0] * 40),
    "constant features": lambda folder: SlowFeatures().fit(EQUAL, groups=[0] * 40),
    "fewer outputs": lambda folder: SlowFeatures(2, degree=1).fit(ROWS[:, [0, 0]], groups=[0] * 40),
    "shuffled frames": lambda folder: SlowFeatures(2).fit_transform(ROWS),
    "equal codewords": lambda folder: BagOfWords(3).fit(EQUAL),
    "clusters": lambda folder: IICClusterer(4, max_epochs=1, n_heads=1, random_state=0).fit_predict(EQUAL),
    "embeddings": lambda folder: TEMIClusterer(4, n_neighbors=2, max_epochs=1, n_heads=1).fit_predict(EQUAL),
    "consensus": lambda folder: ConsensusClusterer(KMeans(2, n_init=1), n_clusters=8, n_runs=2).fit(ROWS),
    "segments": lambda folder: IICSegmenter(3, max_epochs=1, width=2).fit(np.ones((2, 12, 12))),
    "one class": lambda folder: OverclusteringClassifier(KMeans(2)).fit(ROWS, [0] * 20 + [-1] * 20),
    "equal codes": _neighbors,
    "duplicates": _duplicates,
    "photographs": _pooler,
    "a folder of photographs": lambda folder: load_image_folder(_photos(folder)),
    "a pipeline": lambda folder: make_pipeline(StandardScaler(), SlowFeatures(2)).fit_transform(ROWS),
    "a stream": lambda folder: BagOfWords(3).fit(iter([EQUAL, EQUAL])),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_a_warning_names_the_line_of_the_user(case, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        WARNINGS[case](tmp_path)
    assert {one.filename for one in caught if not issubclass(one.category, OF_OTHERS)} == {__file__}


def test_a_warning_in_a_thread_names_the_package():
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        pool.submit(BagOfWords(3).fit, EQUAL).result()
    files = [Path(one.filename) for one in caught if not issubclass(one.category, OF_OTHERS)]
    assert files
    assert all(file.is_relative_to(Path(sklinvariant.__file__).parent) for file in files)


def test_all_warnings_are_issued_this_way():
    root = Path(sklinvariant.__file__).parent
    direct_call = re.compile(r"warnings\.warn\(|from warnings import")
    direct = [path.name for path in root.rglob("*.py") if direct_call.search(path.read_text("utf-8"))]
    assert direct == ["_warnings.py"]
