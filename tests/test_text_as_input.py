"""Text where arrays are expected, such as file names, causes an error that says so, in all estimators."""

from pathlib import Path

import numpy as np
import pytest
from examples import ESTIMATORS, example
from photographs import write_images
from sklearn.base import clone

from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.images import read_image

NAMES = [f"{i}.jpg" for i in range(24)]
TEXTS = {
    "a name": "photos/0.jpg",
    "a path": Path("photos/0.jpg"),
    "names": NAMES,
    "paths": [Path(name) for name in NAMES],
    "an array": np.array(NAMES),
    "a column": np.array(NAMES)[:, None],
    "columns": np.array([NAMES, NAMES]).T,
    "objects": np.array([[1.0, name] for name in NAMES], dtype=object),
    "lists": [[1.0, name] for name in NAMES],
}
ONE = {"a name", "a path"}
OF_FILES = {"names", "paths", "an array", "a column"}  # which estimators of images try to read


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"OverclusteringClassifier"}))
def test_text(name):
    for kind, texts in TEXTS.items():
        estimator, _, y = example(name)
        X, reads = texts if kind in ONE else texts[: len(y)], estimator._reader.takes_files
        if reads and kind in OF_FILES:
            message = "cannot be read|X holds file names"
        else:
            advice = "Pass a list of names of image files" if reads else "read the files first"
            message = rf"X holds text, such as '(photos/)?0\.jpg', but {name} needs .*{advice}"
        with pytest.raises(ValueError, match=message):
            estimator.fit(X, y)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"OverclusteringClassifier"}))
def test_one_file_in_memory(name):
    estimator, _, y = example(name)
    with pytest.raises(ValueError, match=f"X is a bytes object of 5 bytes, but {name} needs"):
        estimator.fit(b"\x89PNG\n", y)


@pytest.mark.parametrize("kind", sorted(ONE))
def test_a_classifier_whose_clusterer_reads_x(kind):
    """The clusterer reads lists of text."""
    estimator, _, y = example("OverclusteringClassifier")
    with pytest.raises(ValueError, match=r"X holds text, 'photos/0\.jpg', but .*list of file names if the clusterer"):
        estimator.fit(TEXTS[kind], y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # one epoch, on purpose
def test_a_classifier_of_images_in_files(tmp_path):
    folder = tmp_path / "photos"
    write_images(folder, 12)
    files, y = sorted(map(str, folder.iterdir())), [0, 1, -1] * 4
    clusterer = IICClusterer(2, n_heads=1, max_epochs=1, init="random", random_state=0)
    model = IICClassifier(clusterer, max_epochs=1, random_state=0).fit(files, y)
    images = np.stack([read_image(file) for file in files])
    np.testing.assert_array_equal(model.predict(files), model.predict(images))
    np.testing.assert_array_equal(clone(model).fit(str(folder), y).predict(images), model.predict(images))


def test_a_table_with_a_column_of_text():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"width": np.arange(24.0), "file": NAMES})
    for name in ("PCAHasher", "BagOfWords", "DensePatches"):
        estimator, _, y = example(name)
        with pytest.raises(ValueError, match=r"column 'file' of X holds text, such as '0\.jpg'.*Select the columns"):
            estimator.fit(table, y)


def test_texts_of_numbers_are_numbers():
    estimator, X, _ = example("PCAHasher")
    texts = X.astype(str).astype(object)
    np.testing.assert_array_equal(estimator.fit(texts).transform(texts), estimator.fit(X).transform(X))
