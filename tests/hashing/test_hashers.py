"""The hashers: against their formulas in numpy, faiss and scikit-learn; bad input; any number of bits."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tolerance import assert_same_labels

from sklinvariant.hashing import (
    BilinearHasher,
    ITQHasher,
    LSHHasher,
    PCAHasher,
    RBMHasher,
    SignHasher,
    SKLSHHasher,
    SpectralHasher,
)
from sklinvariant.hashing._bilinear import nearest_to_square
from sklinvariant.hashing._spectral import smoothest_waves

HASHERS = [
    SignHasher(),
    LSHHasher(8, random_state=0),
    SKLSHHasher(8, random_state=0),
    PCAHasher(8),
    ITQHasher(8, random_state=0),
    SpectralHasher(8),
    BilinearHasher(8, random_state=0),
    RBMHasher(8, max_epochs=3, random_state=0),
]
_IDS = [type(hasher).__name__ for hasher in HASHERS]


@pytest.fixture
def X(global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    return rng.normal(size=(150, 12)) @ rng.normal(size=(12, 12)) + 3


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


def test_sign(X):
    assert_same_labels(SignHasher().fit_transform(X), X.mean(0) < X, X - X.mean(0))


def test_pca_against_scikit_learn(X):
    theirs = PCA(5).fit(X)
    ours = PCAHasher(5).fit(X).decision_function(X)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs.transform(X)), atol=1e-8)


def test_lsh_bits_differ_as_angles_do(X):
    centred = X[:20] - X.mean(0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    angles = np.arccos(np.clip(units @ units.T, -1, 1)) / np.pi
    bits = LSHHasher(20_000, random_state=0).fit(X).transform(X[:20])
    differ = (bits[:, None] != bits).mean(-1)
    np.testing.assert_allclose(differ, angles, atol=0.02)


def test_sklsh_follows_the_kernel(X):
    """The nearer two rows under the kernel, the fewer bits differ; far ones differ in about the theory's share."""
    hasher = SKLSHHasher(20_000, random_state=0).fit(X)
    bits = hasher.transform(X[:30])
    differ = (bits[:, None] != bits).mean(-1)[np.triu_indices(30, 1)]
    distances = np.linalg.norm(X[:30, None] - X[:30], axis=-1)[np.triu_indices(30, 1)]
    order = np.argsort(distances)
    assert np.corrcoef(np.argsort(order), np.argsort(np.argsort(differ)))[0, 1] > 0.99
    # 4/π² Σ_m (1 - K(mx - my)) / (4m² - 1), equation 5 of Raginsky and Lazebnik, doubled: theirs is of one sign
    m = np.arange(1, 200)[:, None]
    gamma = 1 / (2 * X.var(0).sum())
    theory = 8 / np.pi**2 * ((1 - np.exp(-gamma * (m * distances) ** 2 / 2)) / (4 * m**2 - 1)).sum(0)
    np.testing.assert_allclose(differ, theory, atol=0.02)


def test_itq_against_a_numpy_loop(X):
    from sklinvariant.base import torch_generator
    from sklinvariant.hashing._hasher import random_rotation

    V = PCAHasher(6).fit(X).decision_function(X)
    rotation = random_rotation(6, torch_generator(0), torch.float64).numpy()
    start = np.square(np.sign(V @ rotation) - V @ rotation).sum()
    for _ in range(50):
        u, _, vt = np.linalg.svd(np.where(V @ rotation > 0, 1, -1).T @ V)
        rotation = vt.T @ u.T
    hasher = ITQHasher(6, random_state=0).fit(X)
    np.testing.assert_allclose(hasher.decision_function(X), V @ rotation, atol=1e-8)
    assert np.square(np.sign(V @ rotation) - V @ rotation).sum() < start
    assert 1 <= hasher.n_iter_ <= 50


def test_itq_loses_no_more_than_faiss(X):
    faiss = pytest.importorskip("faiss", reason="faiss is not installed")
    V = np.ascontiguousarray(PCAHasher(6).fit(X).decision_function(X).astype(np.float32))
    theirs = faiss.ITQMatrix(6)
    theirs.train(V)

    def loss(rotated):
        return np.square(np.where(rotated > 0, 1, -1) - rotated).sum()

    ours = min(loss(ITQHasher(6, random_state=seed).fit(X).decision_function(X)) for seed in range(3))
    assert ours < 1.02 * loss(theirs.apply(V))


def test_spectral_by_its_definition(X):
    hasher = SpectralHasher(10).fit(X)
    V = PCAHasher(10).fit(X).decision_function(X)
    low, high = V.min(0), V.max(0)
    modes = sorted(((k / (high[i] - low[i])) ** 2, i, k) for i in range(10) for k in range(1, 11))[:10]
    waves = np.stack([np.sin(np.pi / 2 + k * np.pi * (V[:, i] - low[i]) / (high[i] - low[i])) for _, i, k in modes], 1)
    np.testing.assert_allclose(hasher.decision_function(X), waves, atol=1e-8)
    which, half_waves = smoothest_waves(torch.tensor([3.0, 1.0]), 4)
    assert which.tolist() == [0, 0, 0, 1]
    assert half_waves.tolist() == [1, 2, 3, 1]


def test_bilinear_is_two_projections(X):
    hasher = BilinearHasher(6, layout=(3, 4), random_state=0).fit(X)
    left, right = hasher._state["left"], hasher._state["right"]
    assert left.shape[1] * right.shape[1] == 6
    for matrix in (left, right):
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-10)
    rows = (X - X.mean(0)).reshape(-1, 3, 4)
    expected = np.einsum("pk,npq,qc->nkc", left, rows, right).reshape(len(X), -1)
    np.testing.assert_allclose(hasher.decision_function(X), expected)
    at_random = BilinearHasher(6, layout=(3, 4), max_iter=0, random_state=0).fit(X).decision_function(X)
    # learning raises what it maximises, the sum of absolute projections
    assert np.abs(hasher.decision_function(X)).sum() > np.abs(at_random).sum()
    assert [nearest_to_square(size) for size in (12, 7, 512)] == [(3, 4), (1, 7), (16, 32)]


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
@pytest.mark.parametrize(
    "rows",
    [np.ones((5, 12)), np.ones((1, 12)) * 7, np.eye(12)[:3] * 1e-12, np.eye(12) * 1e12 + 5],
    ids=["constant", "one row", "tiny", "huge"],
)
def test_odd_rows_give_bits(hasher, rows):
    bits = hasher.fit(rows).transform(rows)
    assert np.isin(bits, (0, 1)).all()
    assert np.isfinite(hasher.decision_function(rows)).all()


@pytest.mark.parametrize("hasher", HASHERS, ids=_IDS)
@pytest.mark.parametrize(("scale", "dtype"), [(2.0**-900, float), (2.0**1000, float), (2.0**120, np.float32)])
def test_codes_do_not_depend_on_the_scale(hasher, X, scale, dtype):
    """Of whatever size the numbers are, their squares are not taken as they are."""
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


@pytest.mark.parametrize("hasher", [LSHHasher(), SKLSHHasher(), SpectralHasher(), RBMHasher(max_epochs=1)])
def test_more_bits_than_features(hasher, X):
    assert hasher.fit(X).transform(X).shape == (150, 64)
    assert hasher.set_params(n_bits=13, packed=True).fit(X).transform(X).shape == (150, 2)


@pytest.mark.parametrize("hasher", [PCAHasher(), ITQHasher()])
def test_no_more_bits_than_features(hasher, X):
    with pytest.raises(ValueError, match="n_bits=64 is more than the 12 features"):
        hasher.fit(X)


def test_bilinear_sizes(X):
    with pytest.raises(ValueError, match="n_bits=7 is not a product of two integers of at most 3"):
        BilinearHasher(7).fit(X)
    with pytest.raises(ValueError, match="layout"):
        BilinearHasher(4, layout=(5, 2)).fit(X)
