"""Parameters: numpy numbers, booleans and extreme values."""

import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example, instances
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_param_validation
from tolerance import assert_close

import sklinvariant
from sklinvariant import transforms
from sklinvariant._compat import Interval, InvalidParameterError, make_constraint
from sklinvariant.base._parameters import Number, is_number, public_name
from sklinvariant.cluster import IICClassifier, IICClusterer
from sklinvariant.hashing import PCAHasher

ANSWERS = ("transform", "predict", "kneighbors", "fit_predict")
# where the default is None, or where an integer is one of several kinds of value
NUMBERS = {
    "HammingNeighbors": [
        {"n_neighbors": 3, "n_jobs": 1},
        {"index": "ivf", "n_lists": 4, "n_probes": 2, "n_jobs": 1},
        {"index": "hnsw", "n_links": 4, "ef_construction": 8, "ef_search": 8, "n_jobs": 1},
        {"index": "multihash", "n_tables": 2, "table_bits": 3, "n_flips": 1, "n_jobs": 1},
    ],
    "IICSegmenter": [{"n_clusters": 3, "n_overclusters": 4}],
    "IICClusterer": [{"n_overclusters": 4, "max_epochs": 2}],
    "DensePatches": [{"patch_size": 4, "stride": 2}, {"patch_size": (4, 3)}],
    "LocalDescriptors": [{"step": 4, "size": 8, "n_jobs": 1}],
    "BackboneFeatures": [{"mean": 0.3, "std": 0.7, "image_size": 10}],
    "BackbonePatches": [
        {"mean": 0.3, "std": 0.7, "image_size": 10},
        {"mean": [0.3], "std": [0.7], "image_size": (9, 8)},
    ],
    "BilinearHasher": [{"n_bits": 4, "layout": (2, 3)}],
    "SpatialPooling": [{"grids": [(1, 1), (3, 2)], "map_shape": (3, 2), "order": 2.5}],
    "OnDescriptors": [{"subsample": 20}],
    "NestedInvariancePooler": [{"image_size": 10, "fill": 0.25}],
    "BagOfWords": [{"subsample": 20, "chunk_size": 5}],
    "VLAD": [{"subsample": 20, "chunk_size": 5}],
    "FisherVector": [{"subsample": 20, "chunk_size": 5}],
    "LearnedBoW": [{"descriptors_per_sample": 2, "gamma": 0.3}, {"descriptors_per_sample": 0.5, "chunk_size": 7}],
    "LearnedFisherVector": [{"descriptors_per_sample": 2, "tol": 0.01}],
    "LearnedAggregation": [{"descriptors_per_sample": 3}],
    "LearnedVLAD": [{"subsample": 20}],
    "AutoPooling": [{"chunk_size": 3}, {"solver": "sgd", "max_epochs": 2}],
    "SKLSHHasher": [{"gamma": 0.5}],
    "ConvolutionalFeatures": [{"patch_size": (3, 3), "whitening_eps": 0.1}, {"stride": 2}],
}
# the maximum of the cells, and all codes
INDEXES = ("HammingNeighbors", "EmbeddingNeighbors", "QuantizedNeighbors")
TAKE_INFINITY = {("GeMPooling", "order"), ("SpatialPooling", "order"), *((name, "radius") for name in INDEXES)}


def as_kind(value, integer, real):
    """Convert numbers, also in a tuple or list, to numpy types."""
    if isinstance(value, (tuple, list)):
        return type(value)(as_kind(item, integer, real) for item in value)
    if not is_number(value):
        return value
    if isinstance(value, int):
        limits = np.iinfo(integer)
        return integer(value) if limits.min <= value <= limits.max else value
    return real(value)


def as_python(value):
    if isinstance(value, (tuple, list)):
        return type(value)(map(as_python, value))
    return value.item() if isinstance(value, np.generic) else value


def answer(estimator, X, y):
    estimator.fit(X, y)
    method = next(name for name in ANSWERS if hasattr(estimator, name))
    result = getattr(estimator, method)(X)
    result = result if isinstance(result, tuple) else (result,)
    return [part.values if hasattr(part, "offsets") else np.asarray(part) for part in result]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("integer", "real"), [(np.int64, np.float64), (np.uint8, np.float32)], ids=["64 bits", "few bits"]
)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_of_numpy(name, integer, real):
    """A grid made by np.arange or np.logspace gives the same models as Python numbers."""
    for changes in NUMBERS.get(name, [{}]):
        estimator, X, y = example(name)
        estimator.set_params(**changes)
        params = {key: as_kind(value, integer, real) for key, value in estimator.get_params(deep=False).items()}
        of_numpy = clone(estimator).set_params(**params)
        of_python = clone(estimator).set_params(**{key: as_python(value) for key, value in params.items()})
        assert all(value is params[key] for key, value in of_numpy.get_params(deep=False).items())
        for actual, expected in zip(answer(of_numpy, X, y), answer(of_python, X, y), strict=True):
            assert actual.dtype == expected.dtype
            assert_close(actual, expected)


def numbers_of(cls):
    """Parameters that take a number, by their constraints."""
    for name, constraints in cls._parameter_constraints.items():
        if constraints != "no_validation" and any(isinstance(c, Interval) for c in constraints):
            yield name


@pytest.mark.parametrize("name", ESTIMATORS)
def test_booleans_nan_and_infinity_are_no_numbers(name):
    for parameter in numbers_of(ESTIMATORS[name]):
        for value in (True, np.True_, np.nan, np.float32("nan"), -np.inf, np.inf, 10**400, "3", 1 + 2j):
            if value == np.inf and (name, parameter) in TAKE_INFINITY:
                continue
            estimator, X, y = example(name)
            estimator.set_params(**{parameter: value})
            with pytest.raises(InvalidParameterError, match=f"The {parameter!r} parameter of {name} must be"):
                estimator.fit(X, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_constraints_are_those_of_scikit_learn(name):
    """scikit-learn's own check of the validation of parameters."""
    check_param_validation(name, next(instances(name)))


def test_constraints_are_ours():
    for cls in [*ESTIMATORS.values(), *vars(transforms).values()]:
        for name, constraints in getattr(cls, "_parameter_constraints", {}).items():
            for constraint in constraints:
                if isinstance(constraint, Interval):
                    assert isinstance(constraint, Number), f"{cls.__name__}.{name} accepts booleans"


@pytest.mark.parametrize("cls", [cls for _, cls in sklinvariant.all_estimators()])
def test_messages_name_classes_as_users_import_them(cls):
    for name, constraints in cls._parameter_constraints.items():
        for constraint in constraints if constraints != "no_validation" else []:
            for module, kind in re.findall(r"instance of '([\w.]+)\.(\w+)'", str(make_constraint(constraint))):
                assert "._" not in module, f"{name}: {module}.{kind}"
                assert public_name(getattr(importlib.import_module(module), kind)) == f"{module}.{kind}"


def test_the_message_for_a_missing_clusterer():
    expected = r"instance of 'sklinvariant.IICClusterer' or an instance of 'sklearn.frozen.FrozenEstimator'. Got None"
    with pytest.raises(InvalidParameterError, match=expected):
        IICClassifier(None).fit(np.eye(4), [0, 0, 1, 1])


def test_the_message_for_a_random_state_that_is_text():
    with pytest.raises(
        InvalidParameterError, match=r"range \[0, 4294967295\], an instance of 'numpy.random.RandomState'"
    ):
        IICClusterer(2, random_state="a").fit(np.eye(4))


def test_public_names():
    assert [
        public_name(kind) for kind in (torch.nn.Module, np.random.RandomState, IICClassifier, os.PathLike, Rotated)
    ] == [
        "torch.nn.Module",
        "numpy.random.RandomState",
        "sklinvariant.IICClassifier",
        "os.PathLike",
        f"{__name__}.Rotated",
    ]


class Rotated(transforms.Rotation):
    """A class of a user."""


@pytest.mark.parametrize(
    ("transform", "parameter"),
    [
        (transforms.Rotation(True), "degrees"),
        (transforms.Rotation(n_steps=True), "n_steps"),
        (transforms.Scale(low=True), "low"),
        (transforms.GaussianNoise(True), "sigma"),
        (transforms.GaussianNoise(np.inf), "sigma"),
        (transforms.ColorJitter(brightness=np.nan), "brightness"),
    ],
)
def test_transforms_refuse_booleans(transform, parameter):
    with pytest.raises(InvalidParameterError, match=f"The {parameter!r} parameter"):
        transform(np.ones((2, 4, 4, 3), dtype=np.float32))


def test_transforms_take_numbers_of_numpy():
    images = np.random.RandomState(0).rand(2, 8, 8, 3).astype(np.float32)
    steps = transforms.Rotation(np.float32(180), n_steps=np.uint8(200), fill=np.float64(0.5))
    assert_close(steps(images, 0), transforms.Rotation(180.0, n_steps=200, fill=0.5)(images, 0))
    assert len(transforms.Rotation().orbit(np.int64(4))) == 4
    assert len(transforms.Rotation().sample(np.uint8(4), 0)) == 4


def test_parameters_are_kept_as_given():
    n_bits = np.int64(3)
    hasher = PCAHasher(n_bits)
    assert hasher.get_params()["n_bits"] is n_bits
    assert type(hasher.n_bits) is int
    assert clone(hasher).get_params()["n_bits"] == 3
    with pytest.raises(AttributeError, match="no attribute 'n_bits'"):
        del hasher.n_bits, hasher.n_bits
    with pytest.raises(AttributeError, match="no attribute 'n_bits'"):
        _ = hasher.n_bits


@pytest.mark.parametrize("name", ["PCAHasher", "HammingNeighbors"])
def test_numbers_of_numpy_are_saved(name, tmp_path):
    estimator, X, y = example(name)
    params = {key: as_kind(value, np.int64, np.float32) for key, value in estimator.get_params(deep=False).items()}
    estimator.set_params(**params).fit(X, y)
    sklinvariant.save(estimator, tmp_path / "model")
    assert sklinvariant.load(tmp_path / "model").get_params() == estimator.get_params()


# each of these ended the process, hung, or ended in an error of faiss or of libgomp
FAISS = [
    {"n_jobs": 100_000},
    {"n_jobs": 2**31 - 1},
    {"n_jobs": -(2**31) + 1},
    {"n_jobs": 10**30},
    {"n_neighbors": 2**31 - 1},
    {"n_neighbors": 10**30},
    {"radius": 1e300},
    {"index": "ivf", "n_lists": 2**31 - 1},
    {"index": "ivf", "n_probes": 2**31 - 1},
    {"index": "hnsw", "n_links": 2**31 - 1},
    {"index": "hnsw", "n_links": 2**20},
    {"index": "hnsw", "ef_search": 2**31 - 1},
    {"index": "hnsw", "ef_construction": 2**31 - 1},
    {"index": "multihash", "n_tables": 2**31 - 1},
    {"index": "multihash", "table_bits": 2**31 - 1},
    {"index": "multihash", "n_tables": 1, "table_bits": 65},
    {"index": "multihash", "n_tables": 1, "table_bits": 60, "n_flips": 30},
    {"index": "multihash", "n_flips": 2**31 - 1},
]


def test_faiss_gets_no_extremes():
    """In a separate process, because such values crashed it."""
    pytest.importorskip("faiss")
    script = f"""
        import numpy as np
        from sklinvariant.neighbors import HammingNeighbors

        X = np.random.RandomState(0).randint(2, size=(60, 72)).astype(np.uint8)
        for params in {FAISS}:
            try:
                model = HammingNeighbors(**params).fit(X)
                distances, _ = model.kneighbors(X)
                assert (distances[:, 0] == 0).all()
                model.partial_fit(X[:2]).radius_neighbors(X[:2])
                print("answer")
            except ValueError as error:
                named = [name for name in params if name in str(error)]
                assert named, f"{{params}}: {{error}}"
                print("refused", *named)
        """
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, f"after {run.stdout!r}: {run.stderr}"
    assert len(run.stdout.splitlines()) == len(FAISS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_signatures_show_no_addresses(name):
    assert " at 0x" not in str(inspect.signature(ESTIMATORS[name]))
