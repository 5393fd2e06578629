"""Fitted estimators as torch modules: the same answers in torch, after torch.export, compiled, and from ONNX."""

import functools
import pickle
import warnings

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklinvariant import DescriptorSets, to_module
from sklinvariant.aggregation import VLAD, BagOfWords, GeMPooling, LearnedBoW
from sklinvariant.cluster import IICClassifier, IICClusterer, IICSegmenter, OverclusteringClassifier
from sklinvariant.feature_extraction import ConvolutionalFeatures, DensePatches, OnDescriptors
from sklinvariant.hashing import ITQHasher, RBMHasher
from sklinvariant.pooling import NestedInvariancePooler, SlowFeatures, SpatialPooling
from sklinvariant.transforms import Rotation

METHODS = ("transform", "predict_proba", "decision_function", "predict")
WITHOUT = {"DuplicateImages", "LocalDescriptors"}  # OpenCV
WITHOUT |= {"EmbeddingNeighbors", "HammingNeighbors", "QuantizedNeighbors"}  # searches
NO_ONNX = {"SecondOrderPooling"}  # ONNX has no eigenvalues
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

BAGS, TWO = example("BagOfWords")[1].astype(np.float32), example("BagOfWords")[2]
MAPS = BAGS.reshape(24, 2, 3, 4)
IMAGES, ROWS = example("DensePatches")[1], example("ITQHasher")[1]
COLOURS = np.random.RandomState(0).rand(5, 20, 16, 3).astype(np.float32)
THREE = np.arange(24) % 3
QUICK = {"max_epochs": 1, "random_state": 0}


def _maps():
    return ConvolutionalFeatures(BagOfWords(5, random_state=0), patch_size=3, pool=2, random_state=0)


def _pooler(**settings):
    return NestedInvariancePooler(_maps(), transforms={"rotation": Rotation(n_steps=8)}, **settings)


def _clusterer():
    return IICClusterer(3, n_neighbors=3, n_heads=2, **QUICK)


REGIONS = [("translation", (1, np.inf), "l2"), ("region", 1), ("rotation", 3)]
PATCHES = DensePatches(4), OnDescriptors(PCA(3)), VLAD(2, random_state=0), StandardScaler(), Normalizer()
# settings for which other code computes than for the examples: estimator, X, y
SETTINGS = {
    "soft words": (BagOfWords(3, assignment="soft", random_state=0), BAGS, None),
    "soft VLAD": (VLAD(3, assignment="soft", normalization="intra", random_state=0), BAGS, None),
    "VLAD of maps": (VLAD(3, normalization=None, random_state=0), MAPS, None),
    "grids": (SpatialPooling([(2, 2), (1, 3)]), MAPS, None),
    "maximum": (GeMPooling(np.inf), BAGS, None),
    "three classes": (LearnedBoW(3, feature_map="chi2", **QUICK), BAGS, THREE),
    "two labels": (LearnedBoW(3, **QUICK), BAGS, np.stack([TWO, THREE > 0], 1)),
    "regression": (LearnedBoW(3, loss="squared_error", **QUICK), BAGS, BAGS.mean((1, 2))),
    "packed codes": (RBMHasher(10, packed=True, visible="gaussian", **QUICK), ROWS, None),
    "monomials": (SlowFeatures(degree=2), ROWS, None),
    "filters": (ConvolutionalFeatures(PCA(3), patch_size=3, random_state=0), IMAGES, None),
    "turned": (_pooler(normalize=False), IMAGES, None),
    "regions": (_pooler(stages=REGIONS, fill="edge"), IMAGES, None),
    "reflected": (_pooler(fill="reflect", moments="printed"), IMAGES, None),
    "clusters of rows": (_clusterer(), ROWS, None),
    "clusters of images": (IICClusterer(2, n_heads=1, **QUICK), IMAGES, None),
    "classes of clusters": (OverclusteringClassifier(_clusterer(), unlabeled_value=None), ROWS, THREE),
    "few labels": (IICClassifier(_clusterer(), unlabeled_value=None, **QUICK), ROWS, THREE),
    "segments of colours": (IICSegmenter(2, init="mixture", half_window=1, width=4, **QUICK), COLOURS, None),
    "pipeline of patches": (make_pipeline(*PATCHES, LogisticRegression()), IMAGES, THREE),
    "pipeline of maps": (make_pipeline(_maps(), "passthrough", GeMPooling(), ITQHasher(4)), IMAGES, None),
}
NAMES = [*sorted(ESTIMATORS.keys() - WITHOUT - {"OverclusteringClassifier", "SpatialPooling"}), *SETTINGS]


@functools.cache
def fitted(name):
    """A fitted estimator or Pipeline, and samples."""
    estimator, X, y = SETTINGS.get(name) or example(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a single epoch does not converge
        return estimator.fit(X, y), X.astype(np.float32)


def answer(estimator, method, X):
    """The answer of a method, with bags as an array."""
    result = getattr(estimator, method)(X)
    return np.stack([np.asarray(bag) for bag in result]) if isinstance(result, DescriptorSets) else np.asarray(result)


def computed(module, X):
    return module(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_a_module_gives_the_answers_of_the_estimator(name):
    estimator, X = fitted(name)
    methods = [method for method in METHODS if hasattr(estimator, method)]
    assert methods
    for method in methods:
        module, expected = to_module(estimator, method), answer(estimator, method, X)
        given = computed(module, X)
        np.testing.assert_allclose(given, expected, **TOLERANCE, err_msg=method)
        assert given.dtype.kind == expected.dtype.kind
        np.testing.assert_array_equal(computed(pickle.loads(pickle.dumps(module)), X), given)
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_module_takes_any_number_of_samples(name):
    estimator, X = fitted(name)
    module = to_module(estimator)
    batch = {0: torch.export.Dim.AUTO}
    exported = torch.export.export(module, (torch.from_numpy(X[:4]),), dynamic_shapes=(batch,), strict=False).module()
    for n in (2, 5):
        np.testing.assert_allclose(computed(exported, X[:n]), computed(module, X[:n]), **TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_a_module_compiles_to_one_graph(name):
    estimator, X = fitted(name)
    module = to_module(estimator)
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    np.testing.assert_allclose(computed(compiled, X), computed(module, X), **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_ONNX])
def test_onnx(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    estimator, X = fitted(name)
    module, file = to_module(estimator), str(tmp_path / "model.onnx")
    batch = {0: torch.export.Dim.AUTO}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.from_numpy(X[:4]),), dynamic_shapes=(batch,), dynamo=True, verbose=False).save(
            file
        )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for n in (2, 5):
        (given,) = session.run(None, {session.get_inputs()[0].name: X[:n]})
        np.testing.assert_allclose(given, computed(module, X[:n]), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_an_estimator_without_a_module_says_so(name):
    with pytest.raises(ValueError, match=f"{name} cannot be converted to a torch module"):
        to_module(fitted(name)[0])


@pytest.mark.parametrize("name", ["DensePatches", "ConvolutionalFeatures", "clusters of images", "turned"])
def test_modules_take_integers(name):
    estimator, X = fitted(name)
    X = (255 * X).astype(np.uint8)
    np.testing.assert_allclose(computed(to_module(estimator), X), answer(estimator, "transform", X), **TOLERANCE)


@pytest.mark.parametrize("name", ["ITQHasher", "LearnedVLAD", "SlowFeatures", "SparseAutoencoder"])
def test_modules_in_double_precision(name):
    estimator, X = fitted(name)
    module = to_module(estimator, dtype=torch.float64)
    given = computed(module, X.astype(np.float64))
    np.testing.assert_allclose(given, answer(estimator, "transform", X.astype(np.float64)), rtol=1e-12, atol=1e-12)
