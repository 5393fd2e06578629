"""The path of X through an estimator: it is read once, by a reader, and passes through few files."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_structure import ROOMS

import sklinvariant
from sklinvariant import (
    AutoPooling,
    EquivariantAutoencoder,
    HammingNeighbors,
    IICClusterer,
    IICSegmenter,
    LearnedBoW,
    NestedInvariancePooler,
)

ROOT = Path(sklinvariant.__file__).parent
AT_THE_BORDER = {ROOT / "_compat.py"}  # wrappers and callbacks of scikit-learn, to which X is only passed on
MOST_FILES = 5
MOST_CLIMBS = 2


class Walk:
    """The calls of functions of the package with X itself as a named argument.

    A climb is a call from one file to another that is in a later room than the caller's, or that X has visited before.
    """

    def __init__(self, X):
        self.X = X
        self.files, self.climbs = [], []
        self._holders = []  # frames that have X, and their files, from the outermost to the innermost

    def __enter__(self):
        sys.setprofile(self._look)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _look(self, frame, event, argument):
        if event == "return" and self._holders and self._holders[-1][0] is frame:
            self._holders.pop()
        if event != "call":
            return
        code, file = frame.f_code, Path(frame.f_code.co_filename)
        if ROOT not in file.parents or file in AT_THE_BORDER:
            return
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if not any(frame.f_locals.get(name) is self.X for name in named):
            return
        if self._holders and self._holders[-1][1] != file:
            before = self._holders[-1][1]
            if file in self.files or _room(file) > _room(before):
                self.climbs.append(f"{before.name} -> {file.name}: {code.co_name}")
        self._holders.append((frame, file))
        if file not in self.files:
            self.files.append(file)


def _room(file):
    return ROOMS.index(file.relative_to(ROOT).parts[0].removesuffix(".py"))


def _bags():
    return list(np.random.default_rng(0).normal(size=(8, 6, 3)))


def _images():
    return np.random.default_rng(0).random((8, 8, 8))


def _frames():
    return np.random.default_rng(0).random((20, 4)).cumsum(0)


def _pooler():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU())
    return NestedInvariancePooler(network, stages=[("translation", 2)]).fit(_images())


def _index():
    pytest.importorskip("faiss")
    return HammingNeighbors(2).fit(np.eye(8, dtype=np.uint8))


WALKS = {
    "LearnedBoW.fit": lambda: (_bags(), lambda X: LearnedBoW(2, max_epochs=1).fit(X, np.arange(8) % 2)),
    "NestedInvariancePooler.transform": lambda: (_images(), _pooler().transform),
    "AutoPooling.fit": lambda: (_frames(), AutoPooling(2, max_iter=1).fit),
    "AutoPooling.fit by sgd": lambda: (_frames(), AutoPooling(2, solver="sgd", max_epochs=1).fit),
    "IICClusterer.fit of rows": lambda: (_frames(), IICClusterer(2, max_epochs=1).fit),
    "IICClusterer.fit of images": lambda: (_images(), IICClusterer(2, max_epochs=1).fit),
    "IICSegmenter.fit": lambda: (_images(), IICSegmenter(2, half_window=0, width=2, max_epochs=1).fit),
    "EquivariantAutoencoder.fit": lambda: (_images(), EquivariantAutoencoder(2, width=2, depth=1, max_epochs=1).fit),
    "HammingNeighbors.kneighbors": lambda: (np.eye(8, dtype=np.uint8), _index().kneighbors),
}


def walk(name):
    X, use = WALKS[name]()
    with Walk(X) as walked:
        use(X)
    return walked


@pytest.mark.parametrize("name", WALKS)
@pytest.mark.filterwarnings("ignore")
def test_the_walk_of_X_is_short(name):
    walked = walk(name)
    assert 0 < len(walked.files) <= MOST_FILES, walked.files
    assert len(walked.climbs) <= MOST_CLIMBS, walked.climbs
