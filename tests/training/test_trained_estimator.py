"""Common behaviour of estimators that are trained in epochs: settings, history, warm start and resumed fits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from callbacks import Interrupts
from examples import TRAINED, answers, losses, trained_example
from sklearn.base import clone
from tolerance import assert_close

import sklinvariant
from sklinvariant.training import Training, WithEarlyStopping

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose

SETTINGS = set(Training.__dataclass_fields__)
# the machine makes its own steps, and the descent of AutoPooling is projected
WITHOUT_OPTIMIZER = {"AutoPooling", "RBMHasher"}
# those that are trained with labels
WITH_EARLY_STOPPING = {"IICClassifier", "LearnedAggregation", "LearnedBoW", "LearnedFisherVector", "LearnedVLAD"}


def assert_same_model(model, expected, X):
    assert_close(losses(model), losses(expected), rtol=1e-6)
    for actual, wanted in zip(answers(model, X), answers(expected, X), strict=True):
        assert_close(actual, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_settings_and_history(name):
    estimator, X, y = trained_example(name)
    known = set(estimator.get_params(deep=False))
    assert known >= SETTINGS
    assert ("optimizer" in known) is (name not in WITHOUT_OPTIMIZER)
    assert (known >= set(WithEarlyStopping.__dataclass_fields__)) is (name in WITH_EARLY_STOPPING)
    assert hasattr(estimator, "partial_fit")
    estimator.fit(X, y)
    assert [row["epoch"] for row in estimator.history_] == [1, 2, 3, 4]
    assert estimator.n_iter_ == 4
    assert all({"epoch", "loss", "seconds"} <= row.keys() for row in estimator.history_)


@pytest.mark.parametrize("name", TRAINED)
def test_an_interrupted_fit_goes_on_from_its_checkpoint(name, tmp_path):
    estimator, X, y = trained_example(name)
    whole = clone(estimator).fit(X, y)
    model = clone(estimator).set_params(checkpoint=tmp_path / "fit", callbacks=[Interrupts(3)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert (tmp_path / "fit").exists()
    assert_same_model(clone(model).set_params(callbacks=None).fit(X, y), whole, X)
    assert not (tmp_path / "fit").exists()


@pytest.mark.parametrize("name", TRAINED)
def test_an_interrupted_warm_start_goes_on_from_its_checkpoint(name, tmp_path):
    """The interrupted model itself continues: its history has two more epochs."""
    estimator, X, y = trained_example(name)
    estimator.set_params(warm_start=True)
    whole = clone(estimator).fit(X, y).fit(X, y)
    model = clone(estimator).fit(X, y).set_params(checkpoint=tmp_path / "fit", callbacks=[Interrupts(3)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 6
    assert_same_model(model.set_params(callbacks=None).fit(X, y), whole, X)
    assert [row["epoch"] for row in model.history_] == list(range(1, 9))


@pytest.mark.parametrize("name", TRAINED)
def test_another_fit_refuses_the_checkpoint(name, tmp_path):
    estimator, X, y = trained_example(name)
    model = clone(estimator).set_params(checkpoint=tmp_path / "fit", callbacks=[Interrupts(3)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    model.set_params(callbacks=None)
    with pytest.raises(ValueError, match="to a fit with different learning_rate"):
        clone(model).set_params(learning_rate=0.5).fit(X, y)
    with pytest.raises(ValueError, match=r"to a fit with different .*samples"):
        clone(model).fit(X[1:], y[1:])
    with pytest.raises(ValueError, match="to a fit with different max_epochs"):
        clone(model).set_params(max_epochs=5).fit(X, y)


@pytest.mark.parametrize("name", TRAINED)
def test_parts_and_warm_starts_continue_the_history(name):
    model, X, y = trained_example(name)
    given = {"y": y} if hasattr(model, "predict") else {}
    model.set_params(max_epochs=2, warm_start=True)
    model.partial_fit(X, **given).partial_fit(X, **given)
    assert [row["epoch"] for row in model.fit(X, y).history_] == [1, 2, 3, 4]
    assert [row["epoch"] for row in model.partial_fit(X, **given).history_] == [1, 2, 3, 4, 5]


KILLED = ["IICClusterer", "IICSegmenter", "RBMHasher", "SparseAutoencoder"]

_SCRIPT = """
import os, sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = {folders!r}
from test_trained_estimator import Interrupts, torch, trained_example
torch.set_num_threads({threads})  # other numbers round differently
estimator, X, y = trained_example({name!r})
estimator.set_params(checkpoint=sys.argv[1], callbacks=[Interrupts(3, lambda: os._exit(9))]).fit(X, y)
"""


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_process(name, tmp_path):
    folder = Path(__file__).parent
    script = _SCRIPT.format(folders=[str(folder), str(folder.parent)], name=name, threads=torch.get_num_threads())
    paths = [str(Path(sklinvariant.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "fit")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
        timeout=120,
    )
    assert killed.returncode == 9
    estimator, X, y = trained_example(name)
    whole = clone(estimator).fit(X, y)
    assert (tmp_path / "fit").exists()
    assert_same_model(estimator.set_params(checkpoint=tmp_path / "fit").fit(X, y), whole, X)
