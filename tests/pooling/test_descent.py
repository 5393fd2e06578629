"""Iterations until the gradient is small: history, maximum number, and stopping by callbacks."""

from types import SimpleNamespace

import pytest
from sklearn.exceptions import ConvergenceWarning

from sklinvariant.pooling._descent import follow


class Report:
    """Counts the epochs, and stops after a given number."""

    estimator = SimpleNamespace()

    def __init__(self, stop_after=None):
        self.begun, self.ended, self.seen, self.stop_after = 0, 0, [], stop_after

    def begin_epoch(self):
        self.begun += 1

    def end_epoch(self, attributes):
        self.seen.append(attributes())
        return len(self.seen) == self.stop_after

    def end(self, attributes):
        self.ended += 1


def _follow(report, n=100, **settings):
    """A residual that halves in each iteration."""
    iterates = (SimpleNamespace(objective=float(n - i), residual=0.5**i) for i in range(n))
    finished = []
    follow(
        iterates,
        **{"name": "Test", "max_iter": 50, "tol": 0.1, "reference": 1.0, "verbose": 0, **settings},
        report=report,
        attributes=lambda iterate, history: (iterate.residual, len(history)),
        finish=lambda iterate, history: finished.append((iterate, history)),
    )
    return finished


def test_it_ends_when_the_residual_is_small():
    report = Report()
    ((last, history),) = _follow(report)
    assert last.residual == 0.5**4  # the first of at most a tenth
    assert [row["epoch"] for row in history] == [row["iteration"] for row in history] == [0, 1, 2, 3, 4]
    assert [row["loss"] for row in history] == [100, 99, 98, 97, 96]
    assert history[0]["seconds"] == 0
    assert report.seen == [(0.5**i, i + 1) for i in range(1, 5)]
    assert (report.begun, report.ended) == (4, 1)


def test_it_ends_where_a_callback_says_so():
    ((last, history),) = _follow(Report(stop_after=2))
    assert last.residual == 0.25
    assert len(history) == 3


def test_it_ends_where_there_is_no_further_iterate():
    ((last, _),) = _follow(Report(), n=3)
    assert last.residual == 0.25


def test_too_few_iterations_warn():
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 was reached, .*still 2.5e-01 of its initial value"):
        ((last, _),) = _follow(Report(), max_iter=2)
    assert last.residual == 0.25
