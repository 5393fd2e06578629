"""The path of X through an estimator: it is read once, by a reader, and passes through few files."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from test_structure import ROOMS

import sklinvariant
from sklinvariant import (
    AutoPooling,
    CanonicalRotation,
    EquivariantAutoencoder,
    HammingNeighbors,
    IICClassifier,
    IICClusterer,
    IICSegmenter,
    LearnedBoW,
    NestedInvariancePooler,
    OverclusteringClassifier,
)
from sklinvariant.base import Reader

ROOT = Path(sklinvariant.__file__).parent
# wrappers and callbacks of scikit-learn, to which X is only passed on, the calls that Dask makes later, and what only
# tells the kind of X
AT_THE_BORDER = {ROOT / "_compat.py", ROOT / "base" / "_lazy_answers.py", ROOT / "base" / "_kinds.py"}
MOST_FILES = 5
MOST_CLIMBS = 2


class Walk:
    """The calls of functions of the package with X itself as a named argument.

    A climb is a call from one file to another that is in a later room than the caller's, or that X has visited before.
    A read is a call of the method ``read`` of a reader.
    """

    def __init__(self, X):
        self.X = X
        self.files, self.climbs, self.reads = [], [], []
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
        if code is Reader.read.__code__:
            self.reads.append(type(frame.f_locals["self"]).__name__)
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


FEW = np.where(np.arange(20) < 8, np.arange(20) % 2, -1)  # labels, of which most are missing


def _clusterer():
    return IICClusterer(2, max_epochs=1, random_state=0)


def _classifier():
    return IICClassifier(_clusterer(), max_epochs=1)


WALKS = {
    "LearnedBoW.fit": lambda: (_bags(), lambda X: LearnedBoW(2, max_epochs=1).fit(X, np.arange(8) % 2)),
    "NestedInvariancePooler.transform": lambda: (_images(), _pooler().transform),
    "AutoPooling.fit": lambda: (_frames(), AutoPooling(2, max_iter=1).fit),
    "AutoPooling.fit by sgd": lambda: (_frames(), AutoPooling(2, solver="sgd", max_epochs=1).fit),
    "IICClusterer.fit of rows": lambda: (_frames(), _clusterer().fit),
    "IICClusterer.fit of images": lambda: (_images(), _clusterer().fit),
    "IICClassifier.fit of rows": lambda: (_frames(), lambda X: _classifier().fit(X, FEW)),
    "IICClassifier.fit of images": lambda: (_images(), lambda X: _classifier().fit(X, FEW[4:12])),
    "IICClassifier.predict": lambda: (_frames(), _classifier().fit(_frames(), FEW).predict),
    "OverclusteringClassifier.fit": lambda: (_frames(), lambda X: OverclusteringClassifier(KMeans(8)).fit(X, FEW)),
    "IICSegmenter.fit": lambda: (_images(), IICSegmenter(2, half_window=0, width=2, max_epochs=1).fit),
    "CanonicalRotation.fit": lambda: (_images(), CanonicalRotation(4, width=2, depth=1, max_epochs=1).fit),
    "EquivariantAutoencoder.fit": lambda: (_images(), EquivariantAutoencoder(2, width=2, depth=1, max_epochs=1).fit),
    "HammingNeighbors.kneighbors": lambda: (np.eye(8, dtype=np.uint8), _index().kneighbors),
}


# The clusterer of IICClassifier takes X through all files that MOST_FILES allows; its own file is one more.
FILES = {"IICClassifier.fit of images": MOST_FILES + 1}
# IICClassifier refuses None under its own name before its clusterer reads X, and a method of a fitted estimator first
# compares the kind of array with that in fit: both enter the file of the readers once more.
CLIMBS = {"IICClassifier.fit of rows": MOST_CLIMBS + 1, "IICClassifier.predict": MOST_CLIMBS + 1}
# OverclusteringClassifier passes X to a clusterer of any library as it is, and reads nothing itself.
READS = {"OverclusteringClassifier.fit": 0}


def walk(name):
    X, use = WALKS[name]()
    with Walk(X) as walked:
        use(X)
    return walked


@pytest.mark.parametrize("name", WALKS)
@pytest.mark.filterwarnings("ignore")
def test_the_walk_of_X_is_short(name):
    walked = walk(name)
    assert 0 < len(walked.files) <= FILES.get(name, MOST_FILES), walked.files
    assert len(walked.climbs) <= CLIMBS.get(name, MOST_CLIMBS), walked.climbs
    assert len(walked.reads) == READS.get(name, 1), walked.reads


@pytest.mark.filterwarnings("ignore")
def test_a_clusterer_reads_X_once_for_each_question_of_OverclusteringClassifier():
    # it asks only by public methods: fit, predict_proba and, for clusters without labels, transform
    X, model = _frames(), OverclusteringClassifier(IICClusterer(8, max_epochs=1, random_state=0))
    with Walk(X) as walked:
        model.fit(X, FEW)
    assert walked.reads == ["SampleReader"] * 3
    with Walk(X) as walked:
        model.predict(X)
    assert walked.reads == ["SampleReader"]
