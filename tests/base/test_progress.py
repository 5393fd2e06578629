"""Progress bars appear in terminals and notebooks only."""

import io
import sys

import numpy as np
from tqdm.std import tqdm

from sklinvariant import AutoPooling, LearnedBoW
from sklinvariant.base import _progress, progress_bar


def draw(capsys, verbose=1):
    with progress_bar("Test", 2, "epoch", verbose=verbose) as bar:
        bar.set_postfix(loss="1")
        bar.update(2)
    return capsys.readouterr()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    draw(capsys)
    shown = sys.stderr.getvalue()
    assert all(part in shown for part in ("Test", "2/2", "loss=1"))


def test_nothing_is_drawn_if_not_asked_for(terminal, capsys):
    assert draw(capsys, verbose=0) == ("", "")


def test_nothing_is_drawn_without_a_terminal(capsys, monkeypatch):
    assert draw(capsys) == ("", "")
    monkeypatch.setattr(sys, "stderr", None)
    draw(capsys)


def test_a_bar_in_a_notebook_whose_standard_error_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "tqdm", type("notebook", (tqdm,), {"__module__": "tqdm.notebook"}))
    assert "2/2" in draw(capsys).err


def test_estimators_draw_nothing_in_a_log_file(two_classes, capsys):
    X, y = two_classes
    LearnedBoW(2, max_epochs=2, verbose=1).fit(X, y)
    AutoPooling(1, verbose=1).fit(np.arange(20.0)[:, None])
    assert capsys.readouterr() == ("", "")
