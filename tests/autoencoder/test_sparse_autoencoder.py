"""SparseAutoencoder: the loss and its gradient, sparsity, reconstruction, optimizers, warm start, bad input."""

import numpy as np
import pytest
import torch
from examples import saved_copies
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_digits, load_sample_images
from sklearn.decomposition import PCA
from tolerance import assert_close

from sklinvariant.autoencoder import SparseAutoencoder


@pytest.fixture
def digits():
    return load_digits().data[:600] / 16


@pytest.fixture(scope="module")
def patches():
    """Whitened 8 × 8 grey patches of photographs."""
    grey = np.stack(load_sample_images().images).mean(-1) / 255
    rng = np.random.RandomState(0)
    places = zip(rng.randint(2, size=4000), rng.randint(419, size=4000), rng.randint(632, size=4000), strict=True)
    rows = np.array([grey[i, r : r + 8, c : c + 8].ravel() for i, r, c in places])
    rows -= rows.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    return rows @ (vectors / np.sqrt(values + 0.1 * values.mean())) @ vectors.T


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_activations_have_the_wanted_mean(patches, optimizer):
    epochs = 5 if optimizer == "lbfgs" else 30
    for sparsity in (0.03, 0.2):
        model = SparseAutoencoder(
            25, sparsity=sparsity, sparsity_weight=100, optimizer=optimizer, max_epochs=epochs, random_state=0
        )
        Z = model.fit_transform(patches)
        assert np.abs(Z.mean(0) - sparsity).max() < 0.3 * sparsity
        assert model.history_[-1]["loss"] < 0.9 * model.history_[0]["loss"]
    free = SparseAutoencoder(25, sparsity_weight=0, max_epochs=10, random_state=0).fit(patches)
    assert free.transform(patches).mean() > 0.15


def test_sources_are_found(global_random_seed):
    """Rows are sums of few of 12 causes. The rows of the decoder become the causes, and units detect their cause."""
    rng = np.random.RandomState(global_random_seed)
    causes = rng.normal(size=(12, 16))
    on = rng.rand(1500, 12) < 0.1
    X = on @ causes + 0.05 * rng.normal(size=(1500, 16))
    model = SparseAutoencoder(12, sparsity=0.1, optimizer="lbfgs", max_epochs=20, random_state=0).fit(X)
    found = np.abs(np.corrcoef(model.decoder_components_, causes)[:12, 12:])
    assert np.median(found.max(0)) > 0.99
    units = np.abs(np.corrcoef(model.transform(X).T, on.T)[:12, 12:])
    assert np.median(units.max(0)) > 0.95


def test_filters_of_photographs_are_local(patches):
    """Sparse filters are edges, which are more localised than those of PCA. Without weight decay they are noise."""

    def in_a_quarter(filters):
        energy = np.sort(filters**2, axis=1)
        return np.median(energy[:, -16:].sum(1) / energy.sum(1))

    model = SparseAutoencoder(40, random_state=0).fit(patches)
    noise = SparseAutoencoder(40, weight_decay=0, random_state=0).fit(patches)
    assert in_a_quarter(model.components_) > in_a_quarter(noise.components_) + 0.02
    assert in_a_quarter(model.components_) > in_a_quarter(PCA(40).fit(patches).components_) + 0.03


def test_as_good_as_the_best_linear_code(digits):
    """A plain autoencoder reconstructs about as well as PCA with as many components (Baldi & Hornik 1989)."""
    pca = PCA(10).fit(digits)
    best = np.mean((pca.inverse_transform(pca.transform(digits)) - digits) ** 2)
    model = SparseAutoencoder(
        10, sparsity_weight=0, weight_decay=0, sparsity=0.5, optimizer="lbfgs", max_epochs=15, random_state=0
    ).fit(digits)
    rebuilt = model.inverse_transform(model.transform(digits))
    assert model.reconstruction_error_ == pytest.approx(np.mean((rebuilt - digits) ** 2), rel=1e-5)
    assert model.reconstruction_error_ < 1.1 * best


@pytest.mark.parametrize("params", [{}, {"decoder": "sigmoid"}, {"tied_weights": True}])
def test_transform_is_the_formula(digits, params):
    model = SparseAutoencoder(12, max_epochs=2, random_state=0, **params).fit(digits)
    Z = expit(digits @ model.components_.T + model.intercept_)
    np.testing.assert_allclose(model.transform(digits), Z)
    rebuilt = Z @ model.decoder_components_ + model.decoder_intercept_
    np.testing.assert_allclose(model.inverse_transform(Z), expit(rebuilt) if "decoder" in params else rebuilt)
    if "tied_weights" in params:
        unit = np.sqrt(digits.var(0).mean())
        np.testing.assert_allclose(model.components_ * unit, model.decoder_components_ / unit)


def test_the_unit_of_the_rows_does_not_matter(digits):
    model = SparseAutoencoder(12, max_epochs=3, random_state=0).fit(digits)
    other = SparseAutoencoder(12, max_epochs=3, random_state=0).fit(digits * 100)
    np.testing.assert_allclose(other.transform(digits * 100), model.transform(digits), rtol=1e-6)
    assert other.history_[-1]["loss"] == pytest.approx(model.history_[-1]["loss"])
    rebuilt = model.inverse_transform(model.transform(digits))
    np.testing.assert_allclose(
        other.inverse_transform(other.transform(digits * 100)), 100 * rebuilt, rtol=1e-4, atol=1e-4
    )


def test_lbfgs_reaches_a_lower_loss(digits):
    losses = {
        name: SparseAutoencoder(16, optimizer=name, max_epochs=20, random_state=0).fit(digits).history_[-1]["loss"]
        for name in ("adam", "lbfgs")
    }
    assert losses["lbfgs"] < losses["adam"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_containers_and_devices(digits, device, dtype):
    X = torch.tensor(digits, dtype=dtype, device=device)
    model = SparseAutoencoder(9, max_epochs=2, random_state=0).fit(X)
    Z = model.transform(X)
    assert (Z.dtype, Z.device.type) == (dtype, device)
    back = model.inverse_transform(Z)
    assert (back.dtype, back.device.type) == (dtype, device)
    np.testing.assert_allclose(model.transform(digits), Z.cpu(), atol=1e-5)


def test_seeds_pickles_and_files(digits, tmp_path):
    state = torch.get_rng_state()
    one, two, other = (SparseAutoencoder(9, max_epochs=2, random_state=seed).fit(digits) for seed in (0, 0, 1))
    assert_close(one.components_, two.components_, rtol=1e-6)
    assert_close(one.components_, clone(one).fit(digits).components_, rtol=1e-6)
    assert np.abs(one.components_ - other.components_).max() > 1e-3
    assert torch.equal(torch.get_rng_state(), state)
    for again in saved_copies(one, tmp_path / "model"):
        np.testing.assert_array_equal(again.transform(digits), one.transform(digits))


def test_going_on(digits):
    model = SparseAutoencoder(9, max_epochs=3, warm_start=True, random_state=0).fit(digits)
    first = model.history_[-1]["loss"]
    model.set_params(max_epochs=2).fit(digits)
    assert [row["epoch"] for row in model.history_] == [1, 2, 3, 4, 5]
    assert model.history_[-1]["loss"] < first
    part = SparseAutoencoder(9, random_state=0)
    for start in range(0, 600, 200):
        part.partial_fit(digits[start : start + 200])
    assert part.n_iter_ == 3


def test_tol_stops(digits):
    model = SparseAutoencoder(9, max_epochs=50, tol=1.0, n_iter_no_change=2, random_state=0).fit(digits)
    assert model.n_iter_ < 50


def test_a_failed_fit_leaves_the_old_model(digits):
    model = SparseAutoencoder(9, max_epochs=2, random_state=0).fit(digits)
    before = model.transform(digits)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((5, 3), np.nan))
    np.testing.assert_array_equal(model.transform(digits), before)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"sparsity": 0.0}, "sparsity"),
        ({"sparsity_weight": -1}, "sparsity_weight"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"decoder": "tanh"}, "decoder"),
        ({"optimizer": "newton"}, "optimizer"),
        ({"decoder": "sigmoid"}, "values in 0-1"),
    ],
)
def test_bad_parameters(digits, params, message):
    with pytest.raises(ValueError, match=message):
        SparseAutoencoder(**params).fit(digits * 2)


def test_bad_activations(digits):
    model = SparseAutoencoder(9, max_epochs=1).fit(digits)
    with pytest.raises(ValueError, match=r"activations must be of shape \(n, 9\), got \(600, 64\)"):
        model.inverse_transform(digits)
    with pytest.raises(ValueError, match="activations contain NaN or infinity"):
        model.inverse_transform(np.full((2, 9), np.nan))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_with_other_units_is_refused(digits, method):
    model = SparseAutoencoder(9, max_epochs=1, warm_start=True, random_state=0).fit(digits)
    with pytest.raises(ValueError, match="n_components=7 does not match the 9 units of the last fit"):
        getattr(model.set_params(n_components=7), method)(digits)
    assert model.components_.shape == (9, 64)
