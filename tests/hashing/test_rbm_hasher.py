"""RBMHasher: equations, gradients, scikit-learn's BernoulliRBM, the batch's regulariser, training."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.neural_network import BernoulliRBM
from skorch.callbacks import LRScheduler
from tolerance import assert_close, assert_same_labels

from sklinvariant import RBMHasher
from sklinvariant.accumulate import _blocks
from sklinvariant.hashing._rbm import RestrictedBoltzmannMachine, pseudo_log_likelihood
from sklinvariant.metrics import bit_activations, code_entropy
from sklinvariant.training._batches import RowBatches


@pytest.mark.parametrize("seed", [0, 1])
def test_against_bernoulli_rbm(digits, seed):
    """scikit-learn's BernoulliRBM with the same settings reaches the same pseudo-likelihood."""
    setting = {"learning_rate": 0.05, "batch_size": 10, "random_state": seed}
    theirs = BernoulliRBM(32, n_iter=15, **setting).fit(digits)
    ours = RBMHasher(
        32, regularization=0, visible="binary", persistent=True, momentum=0, weight_decay=0, max_epochs=15, **setting
    ).fit(digits)
    many = np.mean([theirs.set_params(random_state=i).score_samples(digits).mean() for i in range(20)])
    assert -0.5 < ours.score_samples(digits).mean() - many < 1.5  # visible biases start better than at 0
    # their own weights, scored by ours
    parameters = (torch.tensor(a) for a in (theirs.components_, theirs.intercept_hidden_, theirs.intercept_visible_))
    assert pseudo_log_likelihood(torch.tensor(digits), *parameters).mean() == pytest.approx(many, abs=0.3)


def test_regularization_uses_bits_equally(digits):
    plain, hashing = (
        RBMHasher(32, regularization=strength, random_state=0).fit_transform(digits) for strength in (0, 0.5)
    )
    uneven, even = (np.abs(bit_activations(codes) - 0.5).mean() for codes in (plain, hashing))
    assert even < 0.04 < 0.07 < uneven
    assert code_entropy(hashing).mean() > 0.95
    sparse = RBMHasher(32, regularization=0, sparsity=0.1, sparsity_weight=1.0, random_state=0).fit(digits)
    assert sparse.activations(digits).mean() < 0.3


def test_codes_find_the_same_digit(digits, global_random_seed):
    """Quality: nearest codes share the label far more often than by chance, and than those of a plain machine."""
    from sklinvariant.metrics import exact_ranking

    y = load_digits().target[:600]
    found = {}
    for strength in (0, 0.5):
        codes = RBMHasher(16, regularization=strength, random_state=global_random_seed).fit_transform(digits)
        found[strength] = (y[exact_ranking(codes, metric="hamming", n_neighbors=1)[:, 0]] == y).mean()
    assert found[0.5] > 0.75
    assert found[0.5] > found[0] + 0.04


@pytest.mark.parametrize("visible", ["scaled", "binary", "gaussian"])
def test_visible_units(digits, visible):
    X = digits if visible == "binary" else digits * 40 - 7
    hasher = RBMHasher(16, visible=visible, learning_rate=0.01, random_state=0).fit(X)
    assert hasher.history_[-1]["loss"] < hasher.history_[0]["loss"]
    drawn = hasher.gibbs(X)
    assert drawn.shape == X.shape
    if visible == "binary":
        assert set(np.unique(drawn)) <= {0, 1}
    else:
        assert np.abs(drawn - X).mean() < np.abs(X.mean() - X).mean()
    assert np.isfinite(hasher.score_samples(X)).all()
    scaled = (X - hasher.shift_) / hasher.scale_
    expected = expit(scaled @ hasher.components_.T + hasher.intercept_hidden_)
    np.testing.assert_allclose(hasher.activations(X), expected, atol=1e-6)


def test_scaling_is_part_of_the_model(digits):
    hasher = RBMHasher(16, random_state=0).fit(digits)
    moved = RBMHasher(16, random_state=0).fit(digits * 64 - 32).transform(digits * 64 - 32)
    assert_same_labels(moved, hasher.transform(digits), hasher.activations(digits) - 0.5)


@pytest.mark.parametrize("step_every", ["batch", "epoch"])
def test_learning_rate_schedulers(digits, step_every):
    """They warn if the optimizer has not taken a step before them."""
    scheduler = LRScheduler("ExponentialLR", gamma=0.5, step_every=step_every)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RBMHasher(4, max_epochs=2, batch_size=200, callbacks=[scheduler], random_state=0).fit(digits)
    assert scheduler.lr_scheduler_.get_last_lr() == pytest.approx([0.05 * 0.5 ** (6 if step_every == "batch" else 2)])


def test_going_on(digits):
    whole = RBMHasher(9, max_epochs=3, warm_start=True, random_state=0).fit(digits)
    assert whole.n_iter_ == 3
    whole.set_params(max_epochs=2).fit(digits)
    assert [row["epoch"] for row in whole.history_] == [1, 2, 3, 4, 5]
    part = RBMHasher(9, random_state=0)
    for start in range(0, 600, 200):
        part.partial_fit(digits[start : start + 200])
    assert part.n_iter_ == 3
    assert part.transform(digits).shape == (600, 9)


def test_interrupted_training_keeps_finished_epochs(digits):
    from skorch.callbacks import Callback

    class Interrupt(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    hasher = RBMHasher(9, callbacks=[Interrupt()], random_state=0)
    with pytest.raises(KeyboardInterrupt):
        hasher.fit(digits)
    assert_close(hasher.components_, RBMHasher(9, max_epochs=2, random_state=0).fit(digits).components_)


def test_progress_and_divergence(digits, terminal, capsys):
    RBMHasher(4, max_epochs=2, verbose=1).fit(digits)
    assert "2/2" in capsys.readouterr().err
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        RBMHasher(4, visible="gaussian", learning_rate=1e6, max_epochs=50).fit(digits)


def test_a_row_that_is_left_over_does_not_weigh_as_a_batch(digits):
    """A last batch of a single row would have meaningless targets: bits are as balanced for 401 rows as for 400."""
    even, left_over = (
        np.mean([np.abs(RBMHasher(32, random_state=s).fit_transform(digits[:n]).mean(0) - 0.5) for s in range(3)])
        for n in (400, 401)
    )
    assert left_over < 1.5 * even
    sizes = [len(rows) for rows, _ in RowBatches(torch.rand(401, 2), batch_size=100, generator=torch.Generator())]
    assert sizes == [81, 80, 80, 80, 80]


@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_batches_of_any_size(digits, batch_size):
    codes = RBMHasher(8, batch_size=batch_size, max_epochs=1, random_state=0).fit_transform(digits[:50])
    assert codes.shape == (50, 8)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_bits": 0}, "n_bits"),
        ({"regularization": -1}, "regularization"),
        ({"momentum": 1.0}, "momentum"),
        ({"sparsity": 2}, "sparsity"),
        ({"visible": "grey"}, "visible"),
    ],
)
def test_bad_parameters(digits, params, message):
    with pytest.raises(ValueError, match=message):
        RBMHasher(**params).fit(digits)


def test_binary_units_need_0_to_1(digits):
    with pytest.raises(ValueError, match="0-1"):
        RBMHasher(visible="binary").fit(digits * 2)
    hasher = RBMHasher(4, visible="binary", max_epochs=1, warm_start=True).fit(digits)
    for method in (hasher.fit, hasher.partial_fit, hasher.transform, hasher.score_samples, hasher.gibbs):
        with pytest.raises(ValueError, match="0-1"):
            method(digits * 2)


@pytest.mark.parametrize("change", [{"n_bits": 8}, {"visible": "gaussian"}])
def test_what_a_machine_cannot_go_on_with(digits, change):
    hasher = RBMHasher(4, max_epochs=1, warm_start=True, random_state=0).fit(digits)
    codes, likelihood = hasher.transform(digits), hasher.score_samples(digits)
    hasher.set_params(**change)
    for method in (hasher.fit, hasher.partial_fit):
        with pytest.raises(ValueError, match=f"{next(iter(change))}=.* differs from .* in the previous fit"):
            method(digits)
    np.testing.assert_array_equal(hasher.transform(digits), codes)  # what was learned stays what it was
    np.testing.assert_array_equal(hasher.score_samples(digits), likelihood)
    assert hasher.set_params(warm_start=False).fit(digits).transform(digits).shape == (600, hasher.n_bits)


def test_a_small_batch_does_not_end_the_chains(small):
    """The last batch of an epoch may be smaller. The chains without a row are kept and do not restart."""
    machine = RestrictedBoltzmannMachine(*small, persistent=True, generator=torch.Generator().manual_seed(0))
    data = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        machine.learn(data, 0.0)
        before = machine.chain.clone()
        assert before.any()
        machine.learn(data[:2], 0.0)
        assert machine.chain.shape == (7, 3)
        torch.testing.assert_close(machine.chain[2:], before[2:])
        machine.learn(torch.cat([data, data]), 0.0)
        assert machine.chain.shape == (14, 3)


@pytest.mark.parametrize("visible", ["scaled", "gaussian"])
def test_rows_that_are_scaled_batch_by_batch(digits, visible, monkeypatch, tmp_path):
    def fitted():
        model = RBMHasher(8, visible=visible, max_epochs=2, random_state=0, checkpoint=tmp_path / "checkpoint")
        return model.fit(5 * digits[:500] - 2).partial_fit(digits[500:900])

    expected = fitted()
    monkeypatch.setattr(_blocks, "HELD_BYTES", 0)
    model = fitted()
    assert_close(model.components_, expected.components_, rtol=1e-3, atol=1e-4)
    assert_close(model.transform(digits).mean(0), expected.transform(digits).mean(0), atol=0.01)
