"""A saved model is loaded completely, or not at all."""

import json

import joblib
import numpy as np
import pytest
import sklearn
import torch
from examples import ESTIMATORS, example
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from tolerance import assert_close

import sklinvariant
from sklinvariant.aggregation import VLAD, BagOfWords, LearnedBoW, LearnedFisherVector, LearnedVLAD
from sklinvariant.base import _persistence as _persistence
from sklinvariant.feature_extraction import DensePatches


@pytest.fixture
def saved(two_classes, tmp_path):
    X, y = two_classes
    model = LearnedBoW(4, max_epochs=2, random_state=0).fit(X, np.array(["no", "yes"])[y])
    sklinvariant.save(model, tmp_path / "model")
    return model, X, tmp_path / "model"


def test_round_trip(saved):
    model, X, path = saved
    again = sklinvariant.load(path)
    assert again.get_params() == model.get_params()
    assert again.history_ == model.history_
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


@pytest.mark.parametrize(
    "model",
    [
        VLAD(3, random_state=np.int64(3)),
        LearnedVLAD(3, max_epochs=1, gamma=0.5),
        LearnedFisherVector(3, max_epochs=1, class_weight={0: 1.0, 1: 2.0}),
        LearnedBoW(3, max_epochs=1, init=BagOfWords(3)),
        BagOfWords(3, codebook=np.eye(3)),
    ],
)
def test_every_kind_of_parameter(model, two_classes, tmp_path):
    X, y = two_classes
    sklinvariant.save(model.fit(X, y), tmp_path / "model")
    np.testing.assert_array_equal(sklinvariant.load(tmp_path / "model").transform(X), model.transform(X))


# examples that only skops can save, and estimators without arrays in the fitted state
WITHOUT_ARRAYS = {
    "BackboneFeatures",
    "BackbonePatches",
    "ConvolutionalFeatures",
    "LearnedAggregation",
    "NestedInvariancePooler",
}
WITHOUT_ARRAYS |= {"OnDescriptors", "OverclusteringClassifier", "DensePatches", "LocalDescriptors"}
WITHOUT_ARRAYS |= {"ConsensusClusterer"}


@pytest.fixture
def all_warnings():
    """torch issues its warnings each time, not once in a process."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", sorted(ESTIMATORS.keys() - WITHOUT_ARRAYS))
def test_arrays_mapped_from_a_file_cause_no_warning(name, tmp_path, all_warnings):
    model, X, y = example(name)
    sklinvariant.save(model.fit(X, y), tmp_path / "model")
    mapped = sklinvariant.load(tmp_path / "model", mmap_mode="r")
    method = next(
        method for method in ("predict_proba", "transform", "kneighbors", "fit_predict") if hasattr(model, method)
    )
    np.testing.assert_array_equal(getattr(mapped, method)(X), getattr(model, method)(X))


def test_extractor_comes_back_whole(tmp_path, global_random_seed):
    images = np.random.RandomState(global_random_seed).rand(3, 8, 8)
    model = DensePatches(4).fit(images)
    sklinvariant.save(model, tmp_path / "model")
    again = sklinvariant.load(tmp_path / "model")
    assert vars(again) == vars(model)
    assert list(again.get_feature_names_out()) == list(model.get_feature_names_out())


def test_a_frozen_estimator_is_written_as_such(two_classes, tmp_path):
    X, y = two_classes
    model = LearnedBoW(3, max_epochs=1, init=FrozenEstimator(BagOfWords(3, random_state=0).fit(X))).fit(X, y)
    sklinvariant.save(model, tmp_path / "model")
    again = sklinvariant.load(tmp_path / "model")
    assert set(vars(again.init)) == set(vars(model.init)) == {"estimator"}
    np.testing.assert_array_equal(again.init.transform(X), model.init.transform(X))


def test_output_container_comes_back(two_classes, tmp_path):
    pandas = pytest.importorskip("pandas")
    model = BagOfWords(3, random_state=0).fit(two_classes[0]).set_output(transform="pandas")
    sklinvariant.save(model, tmp_path / "model")
    expected = model.transform(two_classes[0])
    pandas.testing.assert_frame_equal(sklinvariant.load(tmp_path / "model").transform(two_classes[0]), expected)


def test_metadata_requests_come_back(two_classes, tmp_path):
    X, y = two_classes
    with sklearn.config_context(enable_metadata_routing=True):
        inner = LearnedBoW(3, max_epochs=1).set_fit_request(sample_weight="inner_weight").fit(X, y)
        model = LearnedBoW(3, max_epochs=1, init=inner, random_state=0).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=False)
        model.fit(X, y)
    sklinvariant.save(model, tmp_path / "model")
    again = sklinvariant.load(tmp_path / "model")
    for one, other in ((again, model), (again.init, model.init), (clone(again), model)):
        assert str(one.get_metadata_routing()) == str(other.get_metadata_routing())
    assert again.get_metadata_routing().fit.requests == {"sample_weight": True}
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(again).fit(X, y, sample_weight=np.arange(40.0))
    assert_close(pipeline.transform(X), model.fit(X, y, sample_weight=np.arange(40.0)).transform(X), rtol=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        float("inf"),
        "word",
        (1, [2.5, None]),
        {"a": {1: (2,)}},
        np.float64(0.1),
        np.float32(0.1),
        np.int64(3),
        np.bool_(True),
        np.array(["a", "bc"]),
        np.array(["a", "bc"], dtype=object),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(3, dtype=">f8"),
        np.zeros((0, 3), dtype=np.uint8),
        np.array([True, False]),
    ],
    ids=repr,
)
def test_every_kind_of_value(value, two_classes, tmp_path):
    model = BagOfWords(3, random_state=0).fit(two_classes[0])
    model.value_ = value
    sklinvariant.save(model, tmp_path / "model")
    again = sklinvariant.load(tmp_path / "model").value_
    assert type(again) is type(value)
    np.testing.assert_equal(again, value)
    if isinstance(value, (np.ndarray, np.generic)):
        assert again.dtype == value.dtype.newbyteorder("=")


def test_mode_is_the_users(saved):
    path = saved[2]
    (path.parent / "other").write_text("")
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode


def test_truncated_at_any_length(saved):
    _, _, path = saved
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="model"):
            sklinvariant.load(path)


def test_edited_anywhere(saved):
    _, _, path = saved
    whole = path.read_bytes()
    for position in [*range(8), *range(8, len(whole), 61)]:
        edited = bytearray(whole)
        edited[position] ^= 1
        path.write_bytes(bytes(edited))
        with pytest.raises(ValueError, match="model"):
            sklinvariant.load(path)


def test_foreign_files(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    (tmp_path / "text").write_text("hello")
    for name in ("foreign", "text"):
        with pytest.raises(ValueError, match=name):
            sklinvariant.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        sklinvariant.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "was written by sklinvariant"),
        ({"version": "99"}, "can read"),
        ({"format": "another"}, "was written by"),
        ({"estimator": {"estimator": "Unknown", "params": {}, "fitted": {}}}, "Unknown is not an estimator"),
        ({"estimator": {"estimator": "BagOfWords"}}, "params"),
        ({"estimator": {"estimator": "BagOfWords", "params": {"nothing": 1}, "fitted": {}}}, "nothing"),
        ({"estimator": {"estimator": "BagOfWords", "params": {}, "fitted": {"transform": 1}}}, "'transform' is not"),
        ({"estimator": {"estimator": "BagOfWords", "params": {}, "fitted": {"__class__": 1}}}, "__class__"),
        ({"estimator": {"estimator": "BagOfWords", "params": {}, "fitted": {"a_": {"array": "99"}}}}, "99"),
        ({"estimator": {"estimator": "BagOfWords", "params": {}, "fitted": {"a_": {"call": [1]}}}}, "call"),
        (
            {"estimator": {"estimator": "BagOfWords", "requests": {"a": {}}, "params": {}, "fitted": {}}},
            "set_a_request",
        ),
        ({"estimator": 3}, "can read"),
    ],
)
def test_malformed_under_a_right_digest(change, message, tmp_path):
    from safetensors.numpy import save_file

    model = {"estimator": "BagOfWords", "params": {}, "fitted": {}}
    whole = {"format": _persistence._FORMAT, "version": 1, "package": "9.9", "estimator": model}
    text = json.dumps(whole | change)
    digest = _persistence._digest(text, {})
    save_file({}, tmp_path / "model", metadata={"document": text, "sha256": digest})
    with pytest.raises(ValueError, match=message):
        sklinvariant.load(tmp_path / "model")


def test_a_folder_and_a_file_of_joblib(tmp_path):
    joblib.dump({"a": 1}, tmp_path / "model.joblib")
    with pytest.raises(ValueError, match=r"not a complete file of sklinvariant\.save .*joblib or skops"):
        sklinvariant.load(tmp_path / "model.joblib")
    with pytest.raises(IsADirectoryError, match=r"is a folder, .*`sklinvariant query`"):
        sklinvariant.load(tmp_path)


def test_what_cannot_be_saved(two_classes, tmp_path):
    X, y = two_classes
    for model, named in (
        (BagOfWords(3, codebook=KMeans(3)), "codebook"),
        (LearnedBoW(3, max_epochs=1, feature_map=torch.relu), "feature_map"),
    ):
        with pytest.raises(TypeError, match=rf"parameter '{named}'.*skops"):
            sklinvariant.save(model.fit(X, y), tmp_path / "model")
    with pytest.raises(TypeError, match=r"KMeans.*skops\.io\.load\(path, trusted=sklinvariant\.trusted_types"):
        sklinvariant.save(KMeans(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_pipeline_through_skops(two_classes, tmp_path):
    sio = pytest.importorskip("skops.io")
    X, y = two_classes
    model = make_pipeline(LearnedVLAD(3, max_epochs=1, random_state=0), LinearSVC()).fit(X, y)
    sio.dump(model, tmp_path / "pipeline.skops")
    again = sio.load(tmp_path / "pipeline.skops", trusted=sklinvariant.trusted_types())
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
