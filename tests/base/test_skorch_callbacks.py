"""skorch callbacks passed to ``callbacks=`` work, or are refused by name before the training starts."""

from functools import partial
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from examples import ESTIMATORS, example
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
)

from sklinvariant.aggregation import LearnedBoW
from sklinvariant.hashing import RBMHasher

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # few epochs, on purpose

WITH_CALLBACKS = sorted(name for name in ESTIMATORS if "callbacks" in example(name)[0].get_params(deep=False))
HAS_DECAY = [name for name in WITH_CALLBACKS if "learning_rate_decay" in example(name)[0].get_params(deep=False)]


class Log:
    """Replaces a run of a logging service."""

    def __init__(self):
        self.seen = []

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.seen.append(name)


WORKING = {
    "early stopping": lambda folder: EarlyStopping("train_loss", patience=2),
    "early stopping at the best": lambda folder: EarlyStopping("train_loss", patience=2, load_best=True),
    "callable monitor": lambda folder: Checkpoint(lambda net: len(net.history) == 2, dirname=str(folder)),
    "checkpoint": lambda folder: Checkpoint("train_loss_best", dirname=str(folder), load_best=True),
    "checkpoint always": lambda folder: Checkpoint(None, dirname=str(folder)),
    "checkpoint at the end": lambda folder: TrainEndCheckpoint(dirname=str(folder)),
    "load": lambda folder: LoadInitState(Checkpoint(None, dirname=str(folder))),
    "print": lambda folder: PrintLog(),
    "bar": lambda folder: ProgressBar(),
    "timer": lambda folder: EpochTimer(),
    "average": lambda folder: PassthroughScoring("train_loss", on_train=True),
    "initializer": lambda folder: Initializer("*weight*", fn=partial(torch.nn.init.uniform_, a=0, b=0.1)),
    "mapper": lambda folder: ParamMapper("*", fn=lambda parameter: None),
    "tensorboard": lambda folder: TensorBoard(Log()),
    "sacred": lambda folder: SacredLogger(Log()),
    "mlflow": lambda folder: MlflowLogger(MagicMock(), MagicMock()),
    "wandb": lambda folder: WandbLogger(Log(), save_model=False),
    "a class": lambda folder: EpochTimer,
    "a name": lambda folder: ("print_log", PrintLog()),
    "a name like ours": lambda folder: ("bar", EpochTimer()),
}
NEEDS_GRADIENTS = {
    "clipping": lambda: GradientNormClipping(0.1),
    "freezer": lambda: Freezer("*weight*"),
    "unfreezer": lambda: Unfreezer("*weight*", at=2),
}
REFUSED = {
    "EarlyStopping": (EarlyStopping, "Use monitor='train_loss'"),
    "EarlyStopping of a score": (lambda: EarlyStopping("valid_acc"), "Use monitor='train_loss'"),
    "Checkpoint": (Checkpoint, "Use monitor='train_loss_best'"),
    "LRScheduler": (lambda: LRScheduler("ReduceLROnPlateau", monitor="valid_loss"), "Use monitor='train_loss'"),
    "EpochScoring": (lambda: EpochScoring("accuracy", on_train=True), "score the estimator after fit"),
    "EpochScoring of none": (lambda: EpochScoring("accuracy"), "score the estimator after fit"),
    "BatchScoring": (lambda: BatchScoring("accuracy", on_train=True), "score the estimator after fit"),
    "PassthroughScoring": (lambda: PassthroughScoring("valid_loss"), "Use on_train=True"),
    "InputShapeSetter": (InputShapeSetter, "Remove the callback"),
    "Checkpoint that pickles": (lambda: Checkpoint(None, f_pickle="net.pkl"), "Pickle the estimator after fit"),
    "TrainEndCheckpoint": (lambda: TrainEndCheckpoint(f_pickle="net.pkl"), "Pickle the estimator after fit"),
    "WandbLogger": (lambda: WandbLogger(Log()), "Use save_model=False"),
}


def bow(**params):
    _, X, y = example("LearnedBoW")
    settings = {"max_epochs": 4, "tol": None, "learning_rate_decay": None, "random_state": 0}
    return LearnedBoW(4, **settings | params), X, y


@pytest.mark.parametrize("kind", WORKING)
def test_those_that_work(kind, tmp_path, capsys):
    _, X, y = example("LearnedBoW")
    for estimator in (bow()[0], RBMHasher(4, max_epochs=4, random_state=0)):
        data = (X, y) if isinstance(estimator, LearnedBoW) else (X[:, 0],)
        folder = tmp_path / type(estimator).__name__
        model = estimator.set_params(callbacks=[WORKING[kind](folder)]).fit(*data)
        assert 1 <= len(model.history_) == model.n_iter_ <= 4
        assert np.isfinite(model.transform(data[0])).all()
    if "print" in kind or kind == "a name":
        assert capsys.readouterr().out.count("train_loss") == 2  # each has a heading, and rows
    if kind.startswith("checkpoint"):
        assert any(folder.glob("*params.pt"))


@pytest.mark.parametrize("kind", NEEDS_GRADIENTS)
def test_those_that_need_gradients(kind):
    callback = NEEDS_GRADIENTS[kind]
    model, X, y = bow(callbacks=[callback()], optimizer="sgd")
    plain = bow(optimizer="sgd")[0].fit(X, y)
    same = model.fit(X, y).history_[-1]["loss"] == plain.history_[-1]["loss"]
    assert same == (kind == "unfreezer")  # nothing was frozen
    with pytest.raises(ValueError, match=rf"{type(callback()).__name__}\) cannot be used: .* Remove the callback\."):
        RBMHasher(4, callbacks=[callback()]).fit(X[:, 0])


@pytest.mark.parametrize("kind", REFUSED)
def test_those_that_are_refused_say_what_to_use(kind):
    make, instead = REFUSED[kind]
    for given in (make(), ("mine", make())):
        model, X, y = bow(callbacks=[EpochTimer(), given])
        with pytest.raises(ValueError, match=rf"^callbacks\[1\] \({kind.split()[0]}\) cannot be used: .*{instead}"):
            model.fit(X, y)


@pytest.mark.parametrize("name", WITH_CALLBACKS)
def test_all_estimators_refuse_them_before_they_compute(name):
    estimator, _, y = example(name)
    estimator.set_params(callbacks=[EarlyStopping])
    before = dict(vars(estimator))
    # an encoder, backbone or clustering that was begun would complain of this X
    for method in {"fit", "partial_fit"} & set(dir(estimator)):
        with pytest.raises(ValueError, match=r"EarlyStopping\) cannot be used"):
            getattr(estimator, method)("no data", y)
    assert vars(estimator) == before


def test_a_model_that_goes_on_refuses_them_too():
    model, X, y = bow()
    model.fit(X, y).set_params(callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match=r"EarlyStopping\) cannot be used"):
        model.partial_fit(X, y)


@pytest.mark.parametrize("name", HAS_DECAY)
def test_schedulers_want_a_step_of_their_own(name):
    """With a cosine decay, a scheduler used to be ignored silently."""
    estimator, X, y = example(name)
    with pytest.raises(ValueError, match="Set learning_rate_decay=None"):
        estimator.set_params(callbacks=[LRScheduler()], learning_rate_decay="cosine").fit(X, y)


@pytest.mark.parametrize("name", ["EquivariantAutoencoder", "IICSegmenter"])
def test_schedulers_of_estimators_whose_step_always_falls(name):
    estimator, X, y = example(name)
    with pytest.raises(ValueError, match=r"LRScheduler\) cannot be used"):
        estimator.set_params(callbacks=[LRScheduler()], learning_rate_decay="cosine").fit(X, y)


class Steps(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("step", net.optimizer_.param_groups[0]["lr"])
        SEEN.append(net.history[-1, "step"])


SEEN = []


def test_schedulers_work():
    SEEN.clear()
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.1)
    model, X, y = bow(callbacks=[scheduler, Steps()], learning_rate=0.1)
    model.fit(X, y)
    np.testing.assert_allclose(SEEN, [0.01, 0.001, 0.0001, 0.00001])


@pytest.mark.parametrize("given", [42, "EarlyStopping", print, ("name", 42), object])
def test_what_is_no_callback_is_named(given):
    model, X, y = bow(callbacks=[given])
    with pytest.raises(TypeError, match=r"callbacks\[0\] is .*, but must be a skorch callback.*set_callbacks"):
        model.fit(X, y)
