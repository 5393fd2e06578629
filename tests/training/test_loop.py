"""The training loop: progress, callbacks, interruption, and a loss that is not finite."""

import re

import numpy as np
import pytest
from callbacks import Interrupts, StopsAfter
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EarlyStopping, PrintLog
from tolerance import assert_close

from sklinvariant.aggregation import VLAD, BagOfWords, FisherVector, LearnedBoW
from sklinvariant.cluster import IICClusterer
from sklinvariant.feature_extraction import DensePatches, OnDescriptors


def test_ctrl_c_leaves_the_last_finished_epoch(two_classes):
    X, y = two_classes
    params = {"fine_tune": False, "learning_rate_decay": None, "random_state": 0, "batch_size": 10}
    model = LearnedBoW(3, callbacks=[Interrupts(3)], **params)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 2
    expected = LearnedBoW(3, max_epochs=2, **params).fit(X, y)
    assert_close(model.predict_proba(X), expected.predict_proba(X), rtol=1e-6)


def test_a_skorch_callback_may_stop(two_classes):
    X, y = two_classes
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=10.0, threshold_mode="abs", sink=lambda *_: None)
    model = LearnedBoW(3, callbacks=[stop], tol=None, random_state=0).fit(X, y)
    assert model.n_iter_ < 10


def test_tol_stops(two_classes):
    X, y = two_classes
    assert LearnedBoW(3, tol=100.0, n_iter_no_change=3, random_state=0).fit(X, y).n_iter_ == 4


def test_callbacks_and_the_bar_see_the_epoch_that_stops(two_classes, terminal, capsys):
    X, y = two_classes
    rows = []
    model = LearnedBoW(3, tol=100.0, n_iter_no_change=3, callbacks=[PrintLog(sink=rows.append)], verbose=1)
    assert model.fit(X, y).n_iter_ == 4
    assert len(rows) == 2 + 4  # two lines of head
    assert "4/30" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_names_the_epoch(two_classes):
    X, y = two_classes

    def broken(representation, target):
        return representation.sum() * float("nan")

    with pytest.raises(FloatingPointError, match=r"nan in epoch 1. Lower learning_rate \(now 0.05\)"):
        LearnedBoW(3, loss=broken).fit(X, y)


def test_verbose_draws_a_bar(two_classes, terminal, capsys):
    X, y = two_classes
    LearnedBoW(3, max_epochs=2, verbose=1).fit(X, y)
    assert re.search(r"LearnedBoW: .*loss=\d", capsys.readouterr().err)


def test_losses_come_with_the_ratio_to_their_lower_bound(terminal, capsys):
    """-I / ln k of pairs of equal samples in two clusters approaches -(2 λ - 1)."""
    X = np.repeat([[0.0, 0.0], [9.0, 9.0]], 20, axis=0)
    settings = {"max_epochs": 30, "n_heads": 1, "entropy_weight": 1.5, "verbose": 1, "random_state": 0}
    model = IICClusterer(2, pairs="explicit", **settings).fit(np.stack([X, X], 1))
    ratios = [row["loss_ratio"] for row in model.history_]
    assert 0.98 < ratios[-1] <= 1
    np.testing.assert_allclose(ratios, [row["loss"] / -2 for row in model.history_])
    assert f"loss_ratio={ratios[-1]:.4g}" in capsys.readouterr().err
    model.set_params(entropy_weight=0.5, verbose=0).fit(np.stack([X, X], 1))
    assert "loss_ratio" not in model.history_[0]  # the lower bound is 0


class Steps(Callback):
    """Records the learning rate of each batch."""

    def initialize(self):
        self.steps = []
        return self

    def on_batch_end(self, net, **kwargs):
        self.steps.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("decay", ["cosine", None])
def test_the_step_falls_along_half_a_cosine(two_classes, decay):
    X, y = two_classes
    record = Steps()
    LearnedBoW(3, max_epochs=4, batch_size=16, learning_rate_decay=decay, callbacks=[record]).fit(X, y)
    at = np.arange(12) / 12
    np.testing.assert_allclose(record.steps, 0.05 * (1 + np.cos(np.pi * at)) / 2 if decay else np.full(12, 0.05))


def test_scikit_learn_callbacks_see_and_stop_epochs(two_classes):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    X, y = two_classes
    recorder = StopsAfter(3, see=lambda model, X, y: model.score(X, y))
    model = LearnedBoW(3, tol=None, random_state=0).set_callbacks(recorder).fit(X, y)
    assert len(recorder.seen) == model.n_iter_ == 3
    assert all(0 <= score <= 1 for score in recorder.seen)


def test_bars_and_scores_through_pipeline_and_grid_search(two_classes, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # or the bar of the epochs is cut off
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pytest.importorskip("rich")
    X, y = two_classes
    pipeline = make_pipeline(LearnedBoW(3, max_epochs=2))
    search = GridSearchCV(pipeline, {"learnedbow__n_codewords": [2, 3]}, cv=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert "LearnedBoW - fit" in capsys.readouterr().out
    pipeline.set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "LearnedBoW - fit" in capsys.readouterr().out
    monitor = callback.ScoringMonitor(scoring="accuracy")
    LearnedBoW(3, max_epochs=3, tol=None).set_callbacks(monitor).fit(X, y)
    assert monitor.get_logs(select="most_recent") is not None


def test_a_pipeline_of_ours_takes_a_progress_bar(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    pytest.importorskip("rich")
    images, y = np.random.RandomState(0).rand(20, 8, 8), np.arange(20) % 2
    steps = [DensePatches(4), OnDescriptors(StandardScaler()), LearnedBoW(3, max_epochs=2)]
    for last in (BagOfWords(4), VLAD(4), FisherVector(2)):
        pipeline = make_pipeline(*steps[:2], last).set_callbacks(callback.ProgressBar(max_propagation_depth=None))
        pipeline.fit(images, y)  # where a step does not take callbacks, scikit-learn warns: an error in these tests
        assert f"{type(last).__name__} - fit" in capsys.readouterr().out
    make_pipeline(*steps).set_callbacks(callback.ProgressBar()).fit(images, y)
    assert all(f"{type(step).__name__} - fit" in capsys.readouterr().out for step in steps[2:])
