"""Kinds of X that are not arrays."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tolerance import assert_close

from sklinvariant import VLAD, DescriptorSets, IICClusterer, PCAHasher
from sklinvariant.base import is_bags, is_stream
from sklinvariant.base._kinds import blocks_of_stream, text_in, without_columns
from sklinvariant.datasets import read_blocks

ROWS = np.zeros((3, 2))


def test_streams(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    for X in ((part for part in [ROWS]), iter([ROWS]), map(np.asarray, [ROWS]), {1: ROWS}.values()):
        assert is_stream(X)
    assert is_stream(read_blocks(tmp_path))

    def read():
        yield ROWS

    assert is_stream(read)
    assert not is_stream(lambda: ROWS)


def test_a_callable_iterable_is_not_called():
    class Batches:
        def __iter__(self):
            return iter([ROWS])

        def __call__(self):
            raise AssertionError("called")

    assert next(blocks_of_stream(Batches())) is ROWS


def test_a_lazy_frame_is_refused():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    with pytest.raises(ValueError, match="Expected 2D array"):
        PCAHasher(1).fit(polars.DataFrame({"v": [1.0, 2.0]}).lazy())
    assert is_stream(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(3, 2))))
    for X in (ROWS, [ROWS], (ROWS,), torch.zeros(3, 2), DescriptorSets(ROWS, [0, 3]), None, "text"):
        assert not is_stream(X)


def test_tables_and_dask_are_no_streams():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    assert not is_stream(pandas.DataFrame(ROWS))
    assert not is_stream(da.from_array(ROWS))


def test_bags():
    assert is_bags(DescriptorSets(ROWS, [0, 3]))
    assert not any(map(is_bags, (ROWS, [ROWS], torch.zeros(3, 2), iter([ROWS]))))


def columns():
    """Columns of 4 vectors (4, 3), of several libraries, by name."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    vectors = np.arange(12.0).reshape(4, 3)
    fixed, lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3), pa.array(vectors.tolist())
    found = {
        "fixed": fixed,
        "part": pa.concat_arrays([fixed, fixed])[4:],
        "lists": lists,
        "chunks": pa.chunked_array([lists[:1], lists[1:]]),
        "no chunks": pa.chunked_array([fixed]).slice(0, 4),
        "table": pa.table({"vector": fixed}),
    }
    for name, make in (("pandas", lambda pandas: pandas.Series(list(vectors))), ("polars", _polars)):
        try:
            found[name] = make(__import__(name))
            found[f"table of {name}"] = found[name].to_frame("vector")
        except ImportError:
            continue
    return vectors, found


def _polars(polars):
    return polars.Series("vector", np.arange(12.0).reshape(4, 3).tolist())


def test_columns_of_vectors():
    vectors, found = columns()
    expected = PCAHasher(2).fit(vectors)
    for name, column in found.items():
        np.testing.assert_array_equal(without_columns(column), vectors, err_msg=name)
        model = PCAHasher(2).fit(column)
        np.testing.assert_array_equal(model.transform(column), expected.transform(vectors), err_msg=name)
    blocks = (part for part in (found["fixed"][:0], found["lists"][:1], found["fixed"][1:]))
    assert PCAHasher(2).fit(blocks).n_features_in_ == 3
    for X in (vectors, [vectors], vectors.tolist(), torch.zeros(2, 2), "text", None):
        assert without_columns(X) is X


def test_columns_of_images_and_bags():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    images = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(without_columns(pa.array(images.tolist())), images)
    bags = [np.ones((2, 3)), np.zeros((0, 3)), np.full((4, 3), 2.0)]
    kind = pa.list_(pa.list_(pa.float64(), 3))
    column = pa.array([bag.tolist() for bag in bags], type=kind)
    for found, bag in zip(without_columns(column), bags, strict=True):
        np.testing.assert_array_equal(found, bag)
    assert VLAD(2, random_state=0).fit(column).transform(column).shape == (3, 6)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("empty", [0, 1, 2])
def test_columns_of_bags_some_of_which_are_empty(library, empty):
    bags = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]
    bags.insert(empty, [])
    library = pytest.importorskip(library, reason=f"{library} is not installed")
    column = getattr(library, "Series", getattr(library, "array", None))(bags)
    expected = [np.reshape(bag, (-1, 2)) for bag in bags]
    for found, bag in zip(without_columns(column), expected, strict=True):
        np.testing.assert_array_equal(found, bag)
    model = VLAD(2, random_state=0)
    np.testing.assert_array_equal(model.fit_transform(column), model.fit_transform(expected))


def _cells(kind, images):
    """A column of pandas or polars whose cells are images as lists, or as pandas reads them from a parquet file."""
    library = pytest.importorskip("polars" if kind == "polars" else "pandas", reason=f"{kind} is not installed")
    cells = {
        "polars": lambda: [image.tolist() for image in images],
        "lists": lambda: [image.tolist() for image in images],
        "tuples": lambda: [tuple(map(tuple, image.tolist())) for image in images],
        "parquet": lambda: [_as_objects(image) for image in images],
    }
    return library.Series(cells[kind]())


def _as_objects(image):
    rows = np.empty(len(image), object)
    rows[:] = [_as_objects(row) if row.ndim > 1 else row for row in image]
    return rows


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
@pytest.mark.parametrize("kind", ["lists", "tuples", "parquet", "polars"])
def test_columns_whose_cells_are_lists_of_lists(kind, shape):
    images = np.random.RandomState(0).randint(256, size=(6, *shape))
    column = _cells(kind, images)
    for X in (column, column.to_frame("image")):
        np.testing.assert_array_equal(without_columns(X), images)
    of_two_sizes = [images[0], images[1][:3]]
    for found, image in zip(without_columns(_cells(kind, of_two_sizes)), of_two_sizes, strict=True):
        np.testing.assert_array_equal(found, image)


def test_images_in_cells_are_clustered_as_an_array_is():
    images = np.random.RandomState(0).randint(256, size=(6, 8, 8))
    model = IICClusterer(2, max_epochs=1, random_state=0)
    expected = model.fit(images.astype(np.uint8)).predict_proba(images)
    assert_close(model.fit(_cells("lists", images)).predict_proba(_cells("lists", images)), expected)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([[[1.0], [2.0]], [[1.0], [2.0, 3.0]]], "row 1 holds lists of different lengths"),
        ([[[1.0], [2.0, 3.0]], [[1.0]]], "row 0 holds lists of different lengths"),
        ([[[1.0], [2.0]], None], "row 1 is None, but others are lists. Remove rows without values"),
        ([None, [[1.0], [2.0]]], "row 0 is None, but others are lists. Remove rows without values"),
        ([None, [1.0, 2.0], [3.0, 4.0]], "row 0 is None, but others are lists. Remove rows without values"),
        ([[], None, [[1.0], [2.0]]], "row 1 is None, but others are lists. Remove rows without values"),
        ([[[1.0, 2.0]], [[1.0, 2.0, 3.0]]], "lists of different lengths, but PCAHasher needs rows of features. Pass"),
    ],
)
def test_cells_that_cannot_be_used(cells, message):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for X in (pandas.Series(cells), pandas.DataFrame({"image": cells})):
        with pytest.raises(ValueError, match=message):
            PCAHasher(1).fit(X)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("first", [[[[1.0], [2.0]]], [[]], [None]])
def test_a_column_of_lists_beside_others_is_named(library, first):
    library = pytest.importorskip(library, reason=f"{library} is not installed")
    make = getattr(library, "DataFrame", getattr(library, "table", None))
    X = make({"age": [1, 2, 3], "image": [*first, [[1.0], [2.0]], [[1.0], [3.0]]]})
    for estimator in (PCAHasher(1), IICClusterer(2)):
        with pytest.raises(ValueError, match=r"column 'image' of X holds lists.*Select the columns of numbers, or"):
            estimator.fit(X)


@pytest.mark.parametrize("X", [[[[1.0], [2.0, 3.0]]] * 2, [[[1.0, 2.0]], [[1.0, 2.0, 3.0]]]])
@pytest.mark.parametrize("estimator", [PCAHasher(2), IICClusterer(2)])
def test_lists_of_different_lengths(X, estimator):
    with pytest.raises(ValueError, match=r"(?s)^(?!setting an array element).*(Pass|Set|Resize)"):
        estimator.fit(X)


def test_columns_that_cannot_be_used():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for column, message in (
        (pa.array([[1.0, 2.0], None]), "row 1 is null"),
        (pa.array([[1.0, None], [1.0, 2.0]]), "lists that contain null"),
        (pa.array([[1.0, 2.0], [3.0]]), r"row 1 has the shape \(1,\) and row 0 has \(2,\)"),
        (pa.array([[[1.0], [2.0, 3.0]], [[4.0]]]), r"row 0 holds lists of different lengths, \(1,\) and \(2,\)"),
        (np.array([[np.zeros(2)], [np.zeros(3)]], dtype=object), r"row 1 has the shape \(3,\) and row 0 has \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            PCAHasher(1).fit(column)
        with pytest.raises(ValueError, match=f"block 1 of X: .*{message}"):
            PCAHasher(1).fit(iter([np.ones((3, 2)), column]))
    with pytest.raises(ValueError, match="X holds text"):
        PCAHasher(1).fit(pa.array(["a", "b"]))


def test_columns_of_hugging_face_datasets():
    """A stand-in for the class of `datasets`, a sequence without a shape, whose slices are lists of vectors."""

    class Column(Sequence):
        def __getitem__(self, index):
            return np.arange(12.0).reshape(4, 3).tolist()[index]

        def __len__(self):
            return 4

    Column.__module__ = "datasets.arrow_dataset"
    vectors = np.array(Column()[:])
    np.testing.assert_array_equal(PCAHasher(2).fit(Column()).transform(Column()), PCAHasher(2).fit_transform(vectors))


@pytest.mark.parametrize(("item", "text"), [(3.0, None), (None, None), ("3", None), ("a.jpg", "a.jpg")])
def test_text_in_arrays_without_rows(item, text):
    assert text_in(np.array(item)) == text


@pytest.mark.parametrize("estimator", [PCAHasher(2), IICClusterer(2)])
def test_arrays_without_rows_are_refused(estimator):
    with pytest.raises(ValueError, match="Expected 2D array, got scalar"):
        estimator.fit(np.array(3.0))


@pytest.mark.parametrize("X", [[np.array(1.0), np.array(2.0)], (np.array(1), np.array(2))])
def test_lists_of_arrays_without_axes_are_no_text(X):
    assert text_in(X) is None
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array instead"):
        PCAHasher(1).fit(X)
