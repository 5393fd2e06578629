"""Learning improves the accuracy on real images by margins that a broken encoder, gradient or last fit would miss."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklinvariant.aggregation import VLAD, BagOfWords, LearnedBoW, LearnedVLAD
from sklinvariant.datasets import load_digits_images
from sklinvariant.feature_extraction import DensePatches, OnDescriptors


@pytest.fixture(scope="module")
def digits():
    images, y = load_digits_images(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(y))
    bags, y = DensePatches(4, stride=1).fit_transform(images[order]), y[order]
    return bags[:900], y[:900], bags[900:], y[900:]


@pytest.fixture
def fashion(shared_data):
    file = shared_data / "fashion_mnist.npz"
    if not file.exists():
        pytest.skip("Fashion-MNIST is not in the shared data")
    with np.load(file) as data:
        train = np.random.RandomState(0).permutation(len(data["x_train"]))[:2000]
        images, y, test_images, y_test = (data[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    patches = make_pipeline(DensePatches(8, stride=2), OnDescriptors(PCA(24, random_state=0), random_state=0))
    bags = patches.fit_transform(images[train])
    return bags, y[train], patches.transform(test_images[:2000]), y_test[:2000]


def accuracy(method, data):
    bags, y, test_bags, y_test = data
    feature_map = AdditiveChi2Sampler() if type(method) in (BagOfWords, LearnedBoW) else "passthrough"
    return make_pipeline(method, feature_map, LinearSVC(random_state=0)).fit(bags, y).score(test_bags, y_test)


def test_learned_words_beat_soft_ones_and_these_hard_ones_on_digits(digits, global_random_seed):
    # six seeds gave 78.9-82.8, 85.6-88.3 and 94.4-96.5 %, and gaps of at least 4.1 and 7.2 points
    hard = accuracy(BagOfWords(16, random_state=global_random_seed), digits)
    soft = accuracy(BagOfWords(16, assignment="soft", random_state=global_random_seed), digits)
    learned = LearnedBoW(16, random_state=global_random_seed)
    assert soft > hard + 0.02
    assert accuracy(learned, digits) > max(soft + 0.05, 0.93)
    assert learned.score(*digits[2:]) > 0.93  # the linear model learned with it


def test_learned_vlad_beats_vlad_on_digits(digits, global_random_seed):
    # six seeds gave 90.5-94.6 and 94.2-96.5 %, and gaps of at least 1.9 points
    learned = accuracy(LearnedVLAD(4, random_state=global_random_seed), digits)
    assert learned > max(accuracy(VLAD(4, random_state=global_random_seed), digits), 0.93)


@pytest.mark.slow
def test_learned_beats_not_learned_on_fashion_images(fashion, global_random_seed):
    # four draws gave BoW 64.1-68.8, soft 67.2-71.6, learned 77.8-78.8 %, and a gap of at least 6.4 points to soft
    hard = accuracy(BagOfWords(16, random_state=global_random_seed), fashion)
    soft = accuracy(BagOfWords(16, assignment="soft", random_state=global_random_seed), fashion)
    assert soft > hard
    assert accuracy(LearnedBoW(16, random_state=global_random_seed), fashion) > max(soft + 0.04, 0.76)
    # VLAD 73.4-76.5, learned 78.8-80.8 %, at least 3.3 points apart
    vlad = accuracy(VLAD(8, random_state=global_random_seed), fashion)
    assert accuracy(LearnedVLAD(8, random_state=global_random_seed), fashion) > vlad + 0.015
