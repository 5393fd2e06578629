"""A saved model comes back whole, or not at all."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import sklinvariant
from sklinvariant.aggregation import VLAD, BagOfWords, LearnedBoW, LearnedFisherVector, LearnedVLAD


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
    for position in range(8, len(whole), 61):
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


def test_what_cannot_be_saved(two_classes, tmp_path):
    X, y = two_classes
    for model in (BagOfWords(3, codebook=KMeans(3)), LearnedBoW(3, max_epochs=1, feature_map=torch.relu)):
        with pytest.raises(TypeError, match=r"skops"):
            sklinvariant.save(model.fit(X, y), tmp_path / "model")
    with pytest.raises(TypeError, match="KMeans"):
        sklinvariant.save(KMeans(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_pipeline_through_skops(two_classes, tmp_path):
    sio = pytest.importorskip("skops.io")
    X, y = two_classes
    model = make_pipeline(LearnedVLAD(3, max_epochs=1, random_state=0), LinearSVC()).fit(X, y)
    sio.dump(model, tmp_path / "pipeline.skops")
    again = sio.load(tmp_path / "pipeline.skops", trusted=sklinvariant.trusted_types())
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
