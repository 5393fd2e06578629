"""LearnedBoW: the initial and the learned codewords."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from tolerance import assert_close

from sklinvariant.aggregation import BagOfWords, LearnedBoW, LearnedVLAD
from sklinvariant.datasets import make_checkers, make_concentric


def test_two_learned_words_separate_what_two_of_kmeans_do_not():
    bags, y = make_concentric(300, n_descriptors=5, noise=0.5, random_state=0)
    train, test = bags[:150], bags[150:]
    learned = LearnedBoW(2, max_epochs=100, learning_rate=0.05, tol=None, random_state=0).fit(train, y[:150])
    unlearned = make_pipeline(BagOfWords(2, random_state=0), LinearSVC()).fit(train, y[:150])
    assert learned.score(test, y[150:]) > unlearned.score(test, y[150:]) + 0.1


@pytest.mark.parametrize(("make", "n_words"), [(make_concentric, 2), (make_checkers, 4)])
def test_a_few_learned_words_separate_what_ten_words_of_kmeans_do_not(make, n_words, global_random_seed):
    bags, y = make(800, n_descriptors=2, noise=0.1, random_state=global_random_seed)
    train, test = bags[:400], bags[400:]
    learned = LearnedBoW(n_words, descriptors_per_sample=None, max_epochs=60, random_state=0).fit(train, y[:400])
    unlearned = make_pipeline(BagOfWords(10, random_state=0), AdditiveChi2Sampler(), LinearSVC(C=10, max_iter=10_000))
    assert learned.score(test, y[400:]) > unlearned.fit(train, y[:400]).score(test, y[400:]) + 0.02


@pytest.mark.parametrize(
    "init", ["kmeans", "gmm", "random", np.eye(3), KMeans(3, n_init=1), GaussianMixture(3, covariance_type="diag")]
)
@pytest.mark.parametrize("cls", [LearnedBoW, LearnedVLAD])
def test_starts(two_classes, cls, init):
    X, y = two_classes
    model = cls(3, init=init, max_epochs=5, random_state=0).fit(X, y)
    assert model.codebook_.shape == model.covariances_.shape == (3, 3)
    assert model.score(X, y) > 0.6


def test_a_start_from_a_learned_one(two_classes):
    X, y = two_classes
    learned = LearnedVLAD(3, max_epochs=5, random_state=0).fit(X, y)
    again = LearnedBoW(3, init=learned, max_epochs=0).fit(X, y)
    assert_close(again.codebook_, learned.codebook_)


@pytest.mark.parametrize("cls", [LearnedBoW, LearnedVLAD])
def test_codewords_of_a_mixture_move_in_units_of_their_own(two_classes, cls):
    X, y = two_classes
    X = X * [1, 1, 1e-3]
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0).fit(X.reshape(-1, 3))
    learned = cls(3, init=mixture, max_epochs=15, random_state=0).fit(X, y)
    moved = np.abs(learned.codebook_ - mixture.means_)
    assert (moved > 0).all()
    assert (moved[:, 2] < 0.01).all()  # a step in units of all the data would be 0.05


def test_a_learned_one_starts_another(two_classes):
    X, y = two_classes
    words = LearnedBoW(3, max_epochs=3, random_state=0).fit(X, y)
    vlad = LearnedVLAD(3, init=words, max_epochs=0, random_state=0).fit(X, y)
    assert_close(vlad.codebook_, words.codebook_)
