"""LearnedFisherVector: the initial mixture."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from sklinvariant import DescriptorSets
from sklinvariant.aggregation import BagOfWords, LearnedFisherVector


def test_a_fisher_vector_trains_where_a_feature_hardly_varies(two_classes):
    X, y = two_classes
    X = X * [1, 1, 1e-4]  # a step in units of all the data would throw the means far out of the third feature
    start, learned = (LearnedFisherVector(2, max_epochs=n, random_state=0).fit(X, y) for n in (0, 15))
    deviations = np.sqrt(start.covariances_)
    assert (np.abs(learned.means_ - start.means_) < 5 * deviations).all()
    assert learned.score(X, y) > start.score(X, y) - 0.05


@pytest.mark.parametrize("init", ["kmeans", "random", np.eye(3), KMeans(4, n_init=1, random_state=0), BagOfWords(4)])
def test_a_mixture_starts_around_words(two_classes, init):
    """The means are the codewords; weights and variances are those of the descriptors nearest to each."""
    X, y = two_classes
    init = init.fit(X) if isinstance(init, BagOfWords) else init
    model = LearnedFisherVector(3, init=init, max_epochs=0, random_state=0).fit(X, y)
    values = DescriptorSets.from_bags(X).values
    nearest = pairwise_distances_argmin(values, model.means_)
    k = len(model.means_)
    np.testing.assert_allclose(model.weights_, np.bincount(nearest, minlength=k) / len(values), rtol=1e-4)
    for word in np.unique(nearest):
        spread = np.mean((values[nearest == word] - model.means_[word]) ** 2, axis=0)
        np.testing.assert_allclose(model.covariances_[word], spread, rtol=1e-3, atol=1e-4)
    if isinstance(init, BagOfWords):
        np.testing.assert_allclose(model.means_, init.codebook_, rtol=1e-5)
