"""The hashers: against their formulas in numpy, faiss and scikit-learn; bad input; any number of bits."""

import numpy as np
import pytest
import torch
from examples import moment_hashers, saved_copies
from sklearn.exceptions import ConvergenceWarning
from tolerance import assert_close, assert_same_labels

from sklinvariant.hashing import (
    ITQHasher,
    LSHHasher,
    NeighborHasher,
    PCAHasher,
    RBMHasher,
    SKLSHHasher,
    SpectralHasher,
)

HASHERS = [
    *moment_hashers(8),
    NeighborHasher(8, max_epochs=3, random_state=0),
    RBMHasher(8, max_epochs=3, random_state=0),
]
_IDS = [type(hasher).__name__ for hasher in HASHERS]


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
def test_contract(hasher, X, device):
    state = torch.get_rng_state()
    bits = hasher.fit(X).transform(X)
    assert bits.dtype == np.uint8
    assert bits.shape == (150, len(hasher.get_feature_names_out()))
    assert set(np.unique(bits)) == {0, 1}
    scores = hasher.decision_function(X)
    assert_same_labels(scores > 0, bits, scores)
    assert_same_labels(hasher.transform(X[:7]), bits[:7], scores[:7])
    tensor = hasher.transform(torch.tensor(X, device=device))
    assert tensor.device.type == device
    assert (tensor.cpu().numpy() == bits).mean() > 0.99
    packed = hasher.set_params(packed=True).transform(X)
    for same in (packed, hasher.transform(torch.tensor(X)).numpy()):
        assert_same_labels(np.unpackbits(same, axis=1, count=bits.shape[1]), bits, scores)
    assert len(hasher.get_feature_names_out()) == packed.shape[1]
    hasher.set_params(packed=False)
    assert torch.equal(torch.get_rng_state(), state)
    small = hasher.fit(X.astype(np.float32)).transform(X.astype(np.float32))
    assert (small == bits).mean() > 0.9  # the machine draws other numbers in another precision


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
@pytest.mark.parametrize(
    "rows",
    [np.eye(12)[:3] * 1e-12, np.eye(12) * 1e12 + 5],
    ids=["tiny", "huge"],
)
def test_odd_rows_give_bits(hasher, rows):
    bits = hasher.fit(rows).transform(rows)  # without a warning
    assert np.isin(bits, (0, 1)).all()
    assert np.isfinite(hasher.decision_function(rows)).all()


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
def test_equal_rows_get_the_same_bits_and_a_warning(hasher):
    rows = np.full((20, 12), 0.1)
    message = r"Hasher: all features are constant, so all rows get the same code\. Fit to rows that differ\.$"
    with pytest.warns(ConvergenceWarning, match=message):
        bits = hasher.fit(rows).transform(rows)
    assert np.isin(bits, (0, 1)).all()
    assert (bits == bits[0]).all()
    assert np.isfinite(hasher.decision_function(rows)).all()


@pytest.mark.parametrize("hasher", [hasher for hasher in HASHERS if not isinstance(hasher, NeighborHasher)])
def test_a_single_row_gives_bits(hasher):
    bits = hasher.fit(np.ones((1, 12)) * 7).transform(np.eye(12))  # without a warning
    assert np.isin(bits, (0, 1)).all()
    assert np.isfinite(hasher.decision_function(np.eye(12))).all()


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
@pytest.mark.parametrize(("scale", "dtype"), [(2.0**-900, float), (2.0**1000, float), (2.0**120, np.float32)])
def test_codes_do_not_depend_on_the_scale(hasher, X, scale, dtype):
    """Numbers are scaled before they are squared, so that squares neither overflow nor underflow."""
    X = X.astype(dtype)
    codes = hasher.fit(X).transform(X)
    assert (hasher.fit(X * dtype(scale)).transform(X * dtype(scale)) == codes).mean() > 0.99


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(hasher, X, value):
    X = X.copy()
    X[3, 4] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        hasher.fit(X)


@pytest.mark.parametrize(
    "hasher", [LSHHasher(), NeighborHasher(max_epochs=1), SKLSHHasher(), SpectralHasher(), RBMHasher(max_epochs=1)]
)
def test_more_bits_than_features(hasher, X):
    assert hasher.fit(X).transform(X).shape == (150, 64)
    assert hasher.set_params(n_bits=13, packed=True).fit(X).transform(X).shape == (150, 2)


@pytest.mark.parametrize("hasher", [PCAHasher(), ITQHasher()])
def test_no_more_bits_than_features(hasher, X):
    with pytest.raises(ValueError, match="n_bits=64 is more than the 12 features"):
        hasher.fit(X)


@pytest.mark.parametrize("trained", [NeighborHasher, RBMHasher])
def test_seeds_pickles_and_files(trained, digits, tmp_path):
    state = torch.get_rng_state()
    one, two, other = (trained(9, max_epochs=2, random_state=seed).fit(digits) for seed in (0, 0, 1))
    assert_close(one.components_, two.components_)
    assert np.abs(one.components_ - other.components_).max() > 1e-3
    assert torch.equal(torch.get_rng_state(), state)
    for again in saved_copies(one, tmp_path / "model"):
        np.testing.assert_array_equal(again.transform(digits), one.transform(digits))
