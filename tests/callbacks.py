"""Callbacks of skorch and of scikit-learn that tests of several estimators use."""

from skorch.callbacks import Callback


class Interrupts(Callback):
    """Raise KeyboardInterrupt, or call ``action``, in the middle of an epoch."""

    def __init__(self, epoch, action=None):
        self.epoch, self.action = epoch, action

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            if self.action is None:
                raise KeyboardInterrupt
            self.action()


class StopsAfter:
    """A callback of scikit-learn that calls ``see(fitted_estimator, X, y)`` after each epoch, and may stop the fit."""

    max_propagation_depth = None

    def __init__(self, n_epochs=None, see=None):
        self.n_epochs, self.see, self.seen = n_epochs, see, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.task_name == "epoch":
            self.seen.append(None if self.see is None else self.see(fitted_estimator, X, y))
            return len(self.seen) == self.n_epochs
