"""Hashing by projections against their formulas: signs, principal components, random directions, kernels."""

import numpy as np
from sklearn.decomposition import PCA
from tolerance import assert_same_labels

from sklinvariant.hashing import LSHHasher, PCAHasher, SignHasher, SKLSHHasher


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
    """Fewer bits differ for rows that are closer under the kernel. For distant rows the share agrees with theory."""
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
