"""Hashers that learn from rows in parts: they equal the fit to all rows."""

import numpy as np
import pytest
from examples import moment_hashers, saved_copies, with_state
from sklearn.base import clone
from tolerance import assert_close, assert_same_labels

from sklinvariant import load, save
from sklinvariant.hashing import (
    BilinearHasher,
    ITQHasher,
    PCAHasher,
    RBMHasher,
    SKLSHHasher,
    SpectralHasher,
    _moment_hasher,
)

HASHERS = moment_hashers(8, SpectralHasher=14, BilinearHasher=6)
hashers = pytest.mark.parametrize("hasher", HASHERS, ids=lambda hasher: type(hasher).__name__)


def _in_parts(hasher, X, cuts):
    hasher = clone(hasher)
    for part in np.split(X, cuts):
        hasher.partial_fit(part)
    return hasher


@hashers
@pytest.mark.parametrize("cuts", [[], [1, 2, 100], [75], list(range(10, 150, 10))])
def test_partial_fit_equals_fit(hasher, X, cuts):
    expected = clone(hasher).fit(X).decision_function(X)
    assert_close(_in_parts(hasher, X, cuts).decision_function(X), expected, rtol=1e-6)
    assert_close(clone(hasher).fit(iter(np.split(X, cuts))).decision_function(X), expected, rtol=1e-6)
    after_fit = clone(hasher).fit(X[:60]).partial_fit(X[60:])
    assert_close(after_fit.decision_function(X), expected, rtol=1e-6)


@pytest.mark.parametrize("hasher", HASHERS[:4], ids=lambda hasher: type(hasher).__name__)
def test_the_order_of_the_parts_does_not_matter_to_what_moments_determine(hasher, X):
    scores = [_in_parts(hasher, rows, [30, 90]).decision_function(X) for rows in (X, X[::-1])]
    assert_close(scores[0], scores[1], rtol=1e-6)


@hashers
def test_a_model_goes_on_after_it_was_saved(hasher, X, tmp_path):
    expected = _in_parts(hasher, X, [50, 80])
    first = clone(hasher).partial_fit(X[:50])
    for again in saved_copies(first, tmp_path / "model"):
        again.partial_fit(X[50:80])
        save(again, tmp_path / "again")
        again = load(tmp_path / "again").partial_fit(X[80:])
        assert_close(again.decision_function(X), expected.decision_function(X), rtol=1e-6)


@pytest.mark.parametrize("hasher", [ITQHasher(8, random_state=0), SpectralHasher(8), BilinearHasher(6, random_state=0)])
def test_a_sample_of_many_rows(hasher, X, monkeypatch):
    monkeypatch.setattr(_moment_hasher, "SAMPLE_SIZE", 100)
    sampled = _in_parts(hasher, X, [60, 80])
    assert sampled._state["held"]["rows"].shape == (100, 12)
    bits = clone(hasher).fit(X).transform(X)
    assert (sampled.transform(X) == bits).mean() > 0.75
    again = _in_parts(hasher, X, [20, 140])  # other parts, the same sample
    assert_close(again.decision_function(X), sampled.decision_function(X), rtol=1e-6)


@hashers
def test_float32_and_random_seeds(hasher, X):
    """Without a seed, the random numbers of the first call are kept."""
    X = X.astype(np.float32)
    hasher = clone(hasher)
    if "random_state" in hasher.get_params():
        hasher.set_params(random_state=None)
    hasher.partial_fit(X)
    before = hasher.decision_function(X)
    hasher.partial_fit(X)  # the same moments twice are those of the same distribution
    assert_same_labels(hasher.transform(X), before > 0, before, margin=0.05)


@hashers
def test_errors_leave_the_model_as_it_was(hasher, X):
    model = clone(hasher).partial_fit(X[:100])
    state = model._state
    bad = X.copy()
    bad[3, 4] = np.nan
    for wrong, message in ((X[:, :5], "features"), (bad, "NaN"), (X[:0], "minimum of 1")):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(wrong)
        assert model._state is state
    with pytest.raises(ValueError, match=f"this {type(hasher).__name__} was saved by an earlier version"):
        with_state(model, held=None).partial_fit(X)


@hashers
def test_errors_of_a_stream_name_the_block(hasher, X):
    model = clone(hasher).fit(X)
    state = model._state

    def blocks(last):
        yield X[:0]
        yield X[:100]
        if isinstance(last, BaseException):
            raise last
        yield last

    bad = X.copy()
    bad[7, 0] = np.inf
    for last, message in (
        (X[:, :5], "block 2 of X has 5 features, but block 1 has 12"),
        (bad, "block 2 of X: .*infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(blocks(last))
        assert model._state is state
    with pytest.raises(OSError, match="disk") as caught:
        model.fit(blocks(OSError("disk")))
    assert "block 2" in caught.value.__notes__[0]
    with pytest.raises(KeyboardInterrupt):
        model.fit(blocks(KeyboardInterrupt()))
    assert model._state is state
    with pytest.raises(ValueError, match="gave no samples"):
        model.fit(iter([X[:0]]))
    assert model.fit(blocks(X[100:101])).n_features_in_ == 12  # a last block of one row


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_parts_at_extreme_scales(X, scale):
    for hasher in (PCAHasher(6), SKLSHHasher(6, random_state=0)):
        bits = _in_parts(hasher, X, [10, 60]).transform(X)
        assert (_in_parts(hasher, X * scale, [10, 60]).transform(X * scale) == bits).mean() > 0.99


def test_only_fit_takes_an_iterable(X):
    hasher = PCAHasher(4).fit(iter([X]))
    for method in (hasher.transform, hasher.partial_fit, hasher.decision_function, RBMHasher(2).fit):
        with pytest.raises(ValueError, match=r"X is an iterable, a list_iterator, but .* needs rows.*one by one"):
            method(iter([X]))


def test_names_of_features_must_agree(X):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    names = list("abcdefghijkl")
    frames = [pandas.DataFrame(X, columns=names), pandas.DataFrame(X, columns=names[::-1])]
    assert PCAHasher(4).fit(iter(frames[:1] * 2)).feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="block 1 of X has other feature names"):
        PCAHasher(4).fit(iter(frames))
