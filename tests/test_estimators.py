"""The conventions of scikit-learn, for every public estimator."""

import inspect
import re
import warnings

import numpy as np
import pytest
import sklearn
import torch
from examples import ESTIMATORS, INSTANCES
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import parse_version

# what is learned here in a few epochs from a few random rows is seldom anything: clusterers say so
pytestmark = pytest.mark.filterwarnings("ignore:IIC:sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("name", "params"),
    [(name, params) for name in ESTIMATORS for params in INSTANCES.get(name, [{}])],
)
def test_check_estimator(name, params, monkeypatch):
    # scikit-learn's array-API checks take a torch that was built for CUDA for one that has a GPU
    monkeypatch.setattr(torch.backends.cuda, "is_built", torch.cuda.is_available)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks provoke warnings on purpose
        results = check_estimator(ESTIMATORS[name](**params), on_skip=None, on_fail=None)
    failed = [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert not failed
    # before 1.9 scikit-learn had fewer checks for what is no transformer
    least = (
        45
        if hasattr(ESTIMATORS[name], "transform") or parse_version(sklearn.__version__) >= parse_version("1.9")
        else 40
    )
    assert sum(result["status"] == "passed" for result in results) >= least
    assert not [result for result in results if result["status"] == "xfail"]


def _rows(estimator):
    X = np.random.RandomState(0).normal(size=(20, 3))
    return np.abs(X) if get_tags(estimator).input_tags.positive_only else X, np.arange(20) % 2


@pytest.mark.parametrize("name", ESTIMATORS)
def test_none_is_no_data(name):
    estimator = ESTIMATORS[name](**INSTANCES.get(name, [{}])[0])
    X, y = _rows(estimator)
    with pytest.raises(ValueError, match=f"X is None, but {name} needs"):
        estimator.fit(None, y)
    estimator.fit(X, y)
    for method in ("transform", "predict", "predict_proba", "decision_function"):
        if hasattr(estimator, method):
            with pytest.raises(ValueError, match=f"X is None, but {name} needs"):
                getattr(estimator, method)(None)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_documented_defaults(name):
    """Defaults in docstrings agree with the signature."""
    documented = dict(
        re.findall(r"^    (\w+) : .*default=(.+)$", inspect.getdoc(ESTIMATORS[name]).replace("\n", "\n    "), re.M)
    )
    signature = inspect.signature(ESTIMATORS[name]).parameters
    assert documented
    for parameter, default in documented.items():
        assert eval(default) == signature[parameter].default, parameter


@pytest.mark.parametrize("name", [name for name in ESTIMATORS if hasattr(ESTIMATORS[name], "transform")])
def test_set_output_and_names(name):
    estimator = ESTIMATORS[name](**INSTANCES.get(name, [{}])[0])
    X, y = _rows(estimator)
    estimator.set_output(transform="pandas")
    frame = estimator.fit(X, y).transform(X)
    if hasattr(frame, "columns"):
        assert list(frame.columns) == list(estimator.get_feature_names_out())


class Tasks:
    """A scikit-learn callback that records the begin and the end of each fit, and the model."""

    max_propagation_depth = None

    def __init__(self):
        self.began, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.began.append((context.estimator_name, context.task_name))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.parent is None:
            getattr(fitted_estimator, "transform", getattr(fitted_estimator, "predict", None))(X)
        self.ended.append((context.estimator_name, context.task_name))


@pytest.mark.parametrize("name", [name for name, cls in ESTIMATORS.items() if hasattr(cls, "set_callbacks")])
def test_every_fit_is_a_task(name):
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    estimator = ESTIMATORS[name](**INSTANCES.get(name, [{}])[0])
    X, y = _rows(estimator)
    tasks = Tasks()
    model = estimator.set_callbacks(tasks).fit(X, y)
    assert tasks.began[0] == tasks.ended[-1] == (name, "fit")
    assert sorted(tasks.began) == sorted(tasks.ended)
    with pytest.raises(ValueError, match="X is None"):  # and a fit that fails leaves nothing behind
        model.fit(None, y)
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(model))
