"""k-means, mixtures, nearest codewords and the χ² map against scikit-learn."""

import numpy as np
import pytest
import torch
from examples import blobs
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from tolerance import assert_close

from sklinvariant.accumulate import Blocks, draw_rows, fit_kmeans, fit_mixture
from sklinvariant.ops import mixture_scores, nearest_codewords


def test_kmeans_reaches_what_scikit_learn_reaches():
    x = blobs()
    generator = torch.Generator().manual_seed(0)
    best = min(
        nearest_codewords(
            x,
            fit_kmeans(Blocks(x, torch.ones(600, dtype=x.dtype)), 4, max_iter=100, tol=0, generator=generator)[0],
            return_distance=True,
        )[1].sum()
        for _ in range(5)
    )
    peer = KMeans(4, n_init=5, random_state=0).fit(x.numpy())
    assert float(best) == pytest.approx(peer.inertia_, rel=1e-6)


def test_weights_are_repetitions():
    x = blobs(n=60)
    times = torch.arange(60) % 3
    kept = times > 0
    a, _ = fit_kmeans(
        Blocks(x[kept], times[kept].double()), 3, max_iter=50, tol=0, generator=torch.Generator().manual_seed(1)
    )
    repeated = x.repeat_interleave(times, dim=0)
    b, _ = fit_kmeans(
        Blocks(repeated, torch.ones(len(repeated), dtype=x.dtype)),
        3,
        max_iter=50,
        tol=0,
        generator=torch.Generator().manual_seed(1),
    )
    assert_close(a, b)


def test_start_is_a_sample_of_the_rows():
    rows = draw_rows(Blocks(blobs(), torch.ones(600, dtype=torch.float64)), 100, torch.Generator().manual_seed(0))
    assert len(torch.unique(rows)) == 100


def test_more_codewords_than_distinct_values():
    x = torch.tensor([[0.0], [1.0]]).repeat(10, 1)
    codebook, _ = fit_kmeans(
        Blocks(x, torch.ones(20)), 5, max_iter=10, tol=0, generator=torch.Generator().manual_seed(0)
    )
    assert_close(codebook, codebook.round())
    assert set(codebook.round()[:, 0].tolist()) <= {0.0, 1.0}


def test_mixture_reaches_the_likelihood_of_scikit_learn():
    x = blobs()
    mixture, _, likelihood = fit_mixture(
        Blocks(x, torch.ones(600, dtype=x.dtype)), 4, max_iter=200, tol=1e-6, generator=torch.Generator().manual_seed(3)
    )
    peer = GaussianMixture(4, covariance_type="diag", n_init=5, tol=1e-6, random_state=0).fit(x.numpy())
    assert likelihood >= peer.score(x.numpy()) - 0.05
    peer.weights_, peer.means_, peer.covariances_ = (part.numpy() for part in mixture)
    peer.precisions_cholesky_ = 1 / np.sqrt(peer.covariances_)
    scores = mixture_scores(mixture)
    q = torch.softmax(torch.cat([x, x * x], 1) @ scores.weight + scores.bias, 1)
    np.testing.assert_allclose(q.numpy(), peer.predict_proba(x.numpy()), atol=1e-9)
