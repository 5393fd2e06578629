"""Containers of other libraries: Dask collections, and columns and tables of polars and pyarrow."""

import numpy as np
import pytest
import torch
from examples import BAGS, CODES, ESTIMATORS, IMAGES, example
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tolerance import assert_close
from torch import nn

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords, LearnedBoW
from sklinvariant.bags import BagReader
from sklinvariant.base import FrameReader, RowReader
from sklinvariant.base._lazy_answers import are_delayed_blocks, whole
from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.feature_extraction import DensePatches
from sklinvariant.hashing import PCAHasher
from sklinvariant.pooling import AutoPooling, NestedInvariancePooler
from sklinvariant.transforms import Rotation

pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")
METHODS = ("predict_proba", "transform", "predict", "kneighbors")


@pytest.fixture
def dask():
    return pytest.importorskip("dask.array", reason="dask is not installed")


def answers(estimator, X):
    """The results of all methods of an estimator, as lists of arrays."""
    for method in [method for method in METHODS if hasattr(estimator, method)] or ["fit_predict"]:
        result = getattr(estimator, method)(X)
        result = whole(result) if are_delayed_blocks(result) else result  # bags of a Dask array
        result = result.values if isinstance(result, DescriptorSets) else result
        yield from result if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_dask_arrays_are_computed_by_fit(dask, name):
    estimator, X, y = example(name)
    if "max_epochs" in estimator.get_params():
        estimator.set_params(max_epochs=2)
    lazy, lazy_y = dask.from_array(X, chunks=8), dask.from_array(y, chunks=8)
    expected = list(answers(clone(estimator).fit(X, y), X))
    fitted = estimator.fit(lazy, lazy_y)
    assert expected
    for result, plain in zip(answers(fitted, lazy), expected, strict=True):
        assert_close(np.asarray(result), plain)


def test_dask_in_other_arguments(dask):
    X = np.random.RandomState(0).rand(40, 6).astype(np.float32)
    groups = np.arange(40) // 2
    plain = AutoPooling(2, random_state=0).fit(X, groups=groups)
    lazy = AutoPooling(2, random_state=0).fit(dask.from_array(X), groups=dask.from_array(groups))
    assert_close(lazy.components_, plain.components_)
    estimator, bags, y = example("LearnedBoW")
    weight = np.arange(24.0) + 1
    plain = clone(estimator).fit(bags, y, sample_weight=weight)
    lazy = estimator.fit(dask.from_array(bags), dask.from_array(y), sample_weight=dask.from_array(weight))
    assert_close(lazy.coef_, plain.coef_)


def test_dask_images_of_several_sizes_and_transforms(dask):
    images = [np.random.RandomState(i).rand(9 + i, 8) for i in range(3)]
    estimator = example("LocalDescriptors")[0].set_params(step=4)
    lazy = estimator.fit_transform([dask.from_array(image) for image in images])
    assert lazy == estimator.fit_transform(images)
    x = np.random.RandomState(0).rand(2, 8, 8)
    assert_close(Rotation(n_steps=4)(dask.from_array(x), 0), Rotation(n_steps=4)(x, 0))


def test_dask_data_frames_keep_their_names(dask):
    pd = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe", reason="dask has no data frames here")
    table = pd.DataFrame(np.random.RandomState(0).rand(20, 3), columns=list("abc"))
    model = PCAHasher(2).fit(frames.from_pandas(table, npartitions=2))
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(model.transform(frames.from_pandas(table, npartitions=4)), model.transform(table))


def table_of(library, X):
    if library == "polars":
        return pytest.importorskip("polars", reason="polars is not installed").DataFrame(X, schema=list("abcdef"))
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return pa.table({name: X[:, i] for i, name in enumerate("abcdef")})


def column_of(library, values):
    if library == "polars":
        return pytest.importorskip("polars", reason="polars is not installed").Series(values)
    return pytest.importorskip("pyarrow", reason="pyarrow is not installed").array(values)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - BAGS - IMAGES - CODES))
def test_tables_are_rows(library, name):
    estimator, X, y = example(name)
    if "max_epochs" in estimator.get_params():
        estimator.set_params(max_epochs=2)
    table, targets = table_of(library, X), column_of(library, y)
    expected = list(answers(clone(estimator).fit(X, y), X))
    for result, plain in zip(answers(estimator.fit(table, targets), table), expected, strict=True):
        assert_close(np.asarray(result), plain)
    assert estimator.feature_names_in_.tolist() == list("abcdef")
    if is_classifier(estimator):
        assert 0 <= estimator.score(table, targets) <= 1


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize(
    "pipeline",
    [
        make_pipeline(StandardScaler(), PCAHasher(3), LogisticRegression()),
        make_pipeline(StandardScaler(), IICClusterer(2, n_heads=1, max_epochs=2, random_state=0), LogisticRegression()),
        make_pipeline(
            StandardScaler(),
            IICClassifier(IICClusterer(2, n_heads=1, max_epochs=2, random_state=0), max_epochs=2, random_state=0),
        ),
        make_pipeline(LearnedBoW(4, descriptor_dim=3, max_epochs=2, random_state=0)),
        make_pipeline(BagOfWords(2, descriptor_dim=3, random_state=0), LogisticRegression()),
        make_pipeline(DensePatches(2, image_shape=(2, 3)), BagOfWords(2, random_state=0), LogisticRegression()),
        make_pipeline(
            NestedInvariancePooler(nn.Conv2d(1, 2, 1), stages=[("translation", 1)], image_shape=(2, 3)),
            LogisticRegression(),
        ),
    ],
    ids=lambda pipeline: "-".join(pipeline.named_steps),
)
def test_pipelines_predict_from_tables(library, pipeline):
    X = np.random.RandomState(0).rand(24, 6) + (np.arange(24) % 2)[:, None]
    table = table_of(library, X)
    labels = np.array(["no", "yes"], dtype=object)[np.arange(24) % 2]
    expected = clone(pipeline).fit(X, labels).predict(X)
    predicted = clone(pipeline).fit(table, column_of(library, labels.tolist())).predict(table)
    np.testing.assert_array_equal(np.asarray(predicted), expected)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_columns_of_file_names(library, tmp_path):
    cv2 = pytest.importorskip("cv2")
    names = [str(tmp_path / f"{i}.png") for i in range(4)]
    for i, name in enumerate(names):
        cv2.imwrite(name, np.random.RandomState(i).randint(256, size=(9, 9 + i, 3)).astype(np.uint8))
    pooler = NestedInvariancePooler(nn.Conv2d(3, 2, 3), stages=[("translation", 1)], image_size=8)
    expected = pooler.fit_transform(names)
    assert_close(pooler.fit_transform(column_of(library, names)), expected)
    if library == "polars":
        pl = pytest.importorskip("polars")
        table = pl.DataFrame({"file": names, "number": [0, 1, 2, 3]})
        pipeline = make_pipeline(ColumnTransformer([("images", pooler, "file")]), LogisticRegression())
        assert pipeline.fit(table, table["number"] % 2).predict(table).shape == (4,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
def test_rows_are_read_where_they_lie(dtype, tmp_path):
    np.save(tmp_path / "X.npy", np.arange(12).reshape(4, 3).astype(dtype))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    given = RowReader().read(PCAHasher(2), X, reset=True)
    assert given.data.data_ptr() == X.__array_interface__["data"][0]
    assert given.data.dtype == torch.from_numpy(np.zeros(1, dtype)).dtype
    assert given.dtype == (torch.float64 if dtype == np.float64 else torch.float32)
    assert given.tensor().dtype == given.dtype
    np.testing.assert_array_equal(given.tensor(), np.asarray(X))


def test_integers_beyond_float32_are_computed_in_float64():
    given = RowReader().read(PCAHasher(2), np.array([[1 << 24, 1], [(1 << 24) + 1, 2]]), reset=True)
    assert (given.data.dtype, given.dtype) == (torch.int64, torch.float64)


def test_bags_are_read_where_they_lie(tmp_path):
    DescriptorSets(np.arange(12.0).reshape(6, 2), [0, 2, 6]).save(tmp_path / "bags")
    X = DescriptorSets.load(tmp_path / "bags", mmap_mode="r")
    given = BagReader().read(BagOfWords(2), X, reset=True)
    assert given.data.values.data_ptr() == X.values.__array_interface__["data"][0]
    assert given.kind.name == "numpy"


@pytest.mark.parametrize("in_pairs", [False, True])
def test_pairs_are_read_one_after_the_other(in_pairs):
    X = np.arange(12.0).reshape((2, 2, 3) if in_pairs else (4, 3))
    given = FrameReader(RowReader()).read(AutoPooling(2), X, reset=True)
    assert given.in_pairs is in_pairs
    np.testing.assert_array_equal(given.data, np.arange(12.0).reshape(4, 3))


def test_the_kind_of_a_list_is_that_of_its_first_array():
    kind = RowReader().kind_of([torch.zeros(3), np.zeros(3)])
    assert isinstance(kind.wrap(np.ones(2)), torch.Tensor)


def test_a_method_of_an_estimator_that_is_not_fitted_is_refused_first():
    with pytest.raises(NotFittedError):
        PCAHasher(2).transform(None)
    with pytest.raises(ValueError, match="X is None, but PCAHasher needs rows of features"):
        PCAHasher(2).fit(None)
