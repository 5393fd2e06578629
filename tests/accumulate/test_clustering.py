"""k-means, mixtures, nearest codewords and the χ² map against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.mixture import GaussianMixture
from tolerance import assert_close, assert_same_labels

from sklinvariant.accumulate import Blocks, draw_rows, fit_kmeans, fit_mixture
from sklinvariant.networks._chi2 import chi2_map
from sklinvariant.ops import mixture_scores, nearest_codewords


def _blobs(seed=0, n=600):
    generator = torch.Generator().manual_seed(seed)
    centres = 6 * torch.randn(4, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (n,), generator=generator)
    return centres[labels] + torch.randn(n, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("chunk_size", [1, 50, None])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_nearest_codewords(chunk_size, offset):
    x, codebook = _blobs() + offset, _blobs(1, 20) + offset
    labels, distances = nearest_codewords(x, codebook, return_distance=True, chunk_size=chunk_size)
    expected = torch.cdist(x - offset, codebook - offset).square()
    assert_same_labels(labels, expected.argmin(1), -expected, margin=1e-5)
    torch.testing.assert_close(distances, expected.min(1).values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-36, 1e-12, 1.0, 1e12, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0, 1e4])
def test_nearest_codewords_at_any_scale_and_offset(dtype, scale, offset):
    """A codeword that is not quite the nearest may win by rounding, which an offset of the data must not enlarge."""
    x, codebook = (((part + offset) * scale).to(dtype) for part in (_blobs(), _blobs(1, 20)))
    labels = nearest_codewords(x, codebook)
    far = torch.cdist(x.double() / scale, codebook.double() / scale)
    lost = far.gather(1, labels[:, None])[:, 0] - far.min(1).values
    assert lost.max() <= 100 * torch.finfo(dtype).eps


@pytest.mark.parametrize("k", [1, 2, 70, 300])
def test_ties_go_to_the_lower_index(k):
    codebook = torch.zeros(k, 2)
    codebook[k // 2 :] = 1.0
    labels = nearest_codewords(torch.tensor([[0.0, 0.0], [2.0, 2.0], [1.0, 1.0]]), codebook, chunk_size=2)
    assert labels.tolist() == [0, k // 2, k // 2]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.int64])
def test_nearest_codewords_of_any_dtype(dtype):
    x = torch.arange(40).reshape(20, 2).to(dtype)
    codebook = torch.tensor([[3.0, 4.0], [30.0, 30.0], [12.0, 11.0]])
    assert_same_labels(
        nearest_codewords(x, codebook), nearest_codewords(x.float(), codebook), -torch.cdist(x.float(), codebook)
    )


def test_kmeans_reaches_what_scikit_learn_reaches():
    x = _blobs()
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
    x = _blobs(n=60)
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
    rows = draw_rows(Blocks(_blobs(), torch.ones(600, dtype=torch.float64)), 100, torch.Generator().manual_seed(0))
    assert len(torch.unique(rows)) == 100


def test_more_codewords_than_distinct_values():
    x = torch.tensor([[0.0], [1.0]]).repeat(10, 1)
    codebook, _ = fit_kmeans(
        Blocks(x, torch.ones(20)), 5, max_iter=10, tol=0, generator=torch.Generator().manual_seed(0)
    )
    assert_close(codebook, codebook.round())
    assert set(codebook.round()[:, 0].tolist()) <= {0.0, 1.0}


def test_mixture_reaches_the_likelihood_of_scikit_learn():
    x = _blobs()
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


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_chi2_map(steps):
    x = np.random.RandomState(0).rand(6, 5)
    x[0, 0] = 0
    expected = AdditiveChi2Sampler(sample_steps=steps).fit_transform(x)
    np.testing.assert_allclose(chi2_map(torch.tensor(x), steps).numpy(), expected)
    positive = torch.tensor(x[1:] + 0.01, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: chi2_map(x, steps), (positive,))


def test_chi2_map_of_zero_has_no_gradient():
    x = torch.zeros(1, 2, requires_grad=True)
    chi2_map(x).sum().backward()
    assert (x.grad == 0).all()
