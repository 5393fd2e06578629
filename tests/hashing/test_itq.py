"""ITQ against a loop in numpy, and against faiss."""

import numpy as np
import pytest
import torch

from sklinvariant.hashing import ITQHasher, PCAHasher


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
