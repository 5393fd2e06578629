"""Classification with few labels in the league.

The score is the accuracy in % on samples that were not seen in training, a third of the set. All other samples are
given to the methods, but only some per class have a label: 1, 5, 20 or all of them. The mean of the four accuracies is
the score of a set, and a second table has the accuracy for each number of labels. The labels differ between seeds and
are the same for all methods. Parameters of the supervised models are cross-validated, if each class has two labels.
"""

import functools
import time

import numpy as np
from league_sets import Family, bundled, cifar, coil, eth, from_files, from_to, grey, groceries
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from sklinvariant import IICClassifier, IICClusterer, OverclusteringClassifier

NUMBERS = (1, 5, 20, None)  # labels per class; None is all


def some_labels(y, number, seed):
    """The labels of ``number`` random samples per class, and -1 for the others."""
    if number is None:
        return y.copy()
    order = np.random.RandomState(seed).permutation(len(y))
    few = np.full_like(y, -1)
    for label in np.unique(y):
        kept = order[y[order] == label][:number]
        few[kept] = label
    return few


def name_of(number):
    return f"{number or 'all'} per class"


def classifier(prepare):
    """A method that calls ``prepare(X, n_classes, seed)`` once, and fits what it returns for each number of labels."""

    def method(data, seed):
        X, y = data
        y = np.unique(y, return_inverse=True)[1]
        X, unseen, y, truth = train_test_split(X, y, test_size=1 / 3, random_state=seed, stratify=y)
        make, scores = prepare(X, y.max() + 1, seed), {}
        for number in NUMBERS:
            few = some_labels(y, number, seed)
            scores[name_of(number)] = 100 * np.mean(make(few).fit(X, few).predict(unseen) == truth)
        return {"mean": np.mean(list(scores.values())), **scores}

    return method


@functools.lru_cache(maxsize=1)
def fitted(rows, shape, dtype, n_classes, seed):
    """The clusterer of rows, given as bytes, and the seconds of its fit. Methods that need the same one follow."""
    X = np.frombuffer(rows, dtype).reshape(shape)
    started = time.perf_counter()
    return IICClusterer(n_classes, random_state=seed).fit(X), time.perf_counter() - started


def with_clusters(wrap):
    """One of our classifiers. Clusters do not depend on labels, so they are learned once; the seconds include it."""

    def method(data, seed):
        clusterers = []

        def prepare(X, n_classes, seed):
            clusterers.append(fitted(X.tobytes(), X.shape, X.dtype, n_classes, seed))
            return lambda few: wrap(FrozenEstimator(clusterers[0][0]), seed)

        started, before = time.perf_counter(), fitted.cache_info().hits
        scores = classifier(prepare)(data, seed)
        is_known = fitted.cache_info().hits > before
        return {**scores, "seconds": time.perf_counter() - started + is_known * clusterers[0][1]}

    return method


class LabelledOnly:
    """A classifier that is fitted to the samples with labels."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.model.fit(X[y >= 0], y[y >= 0])
        return self

    def predict(self, X):
        return self.model.predict(X)


def supervised(model, grid):
    """A model with standardised rows; its parameters are cross-validated once each class has two labels."""

    def prepare(X, n_classes, seed):
        scaler = StandardScaler().fit(X)

        def make(few):
            fewest = np.bincount(few[few >= 0]).min()
            if fewest < 2:
                return LabelledOnly(make_pipeline(FrozenEstimator(scaler), model))
            folds = StratifiedKFold(min(5, fewest), shuffle=True, random_state=seed)
            return LabelledOnly(make_pipeline(FrozenEstimator(scaler), GridSearchCV(model, grid, cv=folds)))

        return make

    return classifier(prepare)


def semi_supervised(model):
    def prepare(X, n_classes, seed):
        scaler = StandardScaler().fit(X)
        return lambda few: make_pipeline(FrozenEstimator(scaler), model)

    return classifier(prepare)


def by_number(results):
    """Accuracy for each number of labels, averaged over sets and seeds; and how often our default is not behind."""
    default, rows = next(iter(results)), []

    def accuracies(name):
        return np.array(
            [[np.mean([run[name_of(n)] for run in runs]) for n in NUMBERS] for runs in results[name].values()]
        )

    ours = accuracies(default)
    for name in results:
        theirs = accuracies(name)
        behind = "" if name == default else f"{(ours < theirs - 1).sum()} of {ours.size}"
        rows.append([name, *(f"{value:.1f}" for value in theirs.mean(0)), behind])
    others = [accuracies(name) for name in results if not name.startswith("ours")]
    if others:
        best = np.max(others, 0)
        behind = f"{(ours < best - 1).sum()} of {ours.size}"
        rows.append(["the best of the others", *(f"{value:.1f}" for value in best.mean(0)), behind])
    return ["labels", *map(name_of, NUMBERS), "default is more than 1 point behind"], rows


LOGISTIC = LogisticRegression(max_iter=1000)
FEW_LABELS = Family(
    "few_labels",
    "accuracy, %",
    development={
        "digits": bundled(load_digits),
        "digits, 1:20": bundled(load_digits, from_to(range(10), 174, 9)),
        "wine": bundled(load_wine),
        "MNIST": from_files(grey, dict.fromkeys(range(10), 200), name="mnist"),
        "CIFAR-10": from_files(cifar, dict.fromkeys(range(10), 200)),
        "ETH-80, 30 objects": from_files(eth, dict.fromkeys(range(0, 60, 2), 41)),
    },
    evaluation={
        "breast cancer": bundled(load_breast_cancer),
        "Fashion-MNIST": from_files(grey, dict.fromkeys(range(10), 200), name="fashion_mnist"),
        "COIL-20": from_files(coil),
        "CIFAR-10 1 3 5 7 9, 1:10": from_files(cifar, from_to((9, 7, 5, 3, 1), 400, 40), start=5000),
        "groceries, 31 products": from_files(groceries),
    },
    methods={
        "ours: IICClassifier, default settings": with_clusters(lambda c, seed: IICClassifier(c, random_state=seed)),
        "ours: IICClassifier, passthrough=False (earlier default)": with_clusters(
            lambda c, seed: IICClassifier(c, passthrough=False, random_state=seed)
        ),
        "ours: OverclusteringClassifier, as many clusters as classes": with_clusters(
            lambda c, seed: OverclusteringClassifier(c)
        ),
        "logistic regression": supervised(LOGISTIC, {"C": np.logspace(-4, 2, 7)}),
        "support vector machine, RBF": supervised(SVC(), {"C": [1, 10, 100], "gamma": ["scale"]}),
        "nearest neighbour": supervised(KNeighborsClassifier(1), {"n_neighbors": [1, 3]}),
        "label spreading": semi_supervised(LabelSpreading(kernel="knn", n_neighbors=7)),
        "self-training": semi_supervised(SelfTrainingClassifier(LOGISTIC)),
    },
    tables={"labels": by_number},
    earlier="ours: IICClassifier, passthrough=False (earlier default)",
)
