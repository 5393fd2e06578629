"""BagOfWords against a plain loop, with learned and with given codebooks."""

import numpy as np
import pytest
from examples import codeword_shares
from sklearn.base import clone
from sklearn.cluster import KMeans, MiniBatchKMeans

from sklinvariant.aggregation import BagOfWords


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_bag_of_words_is_a_loop(ragged, assignment):
    model = BagOfWords(3, assignment=assignment, random_state=0).fit(ragged)
    for bag, row in zip(ragged, model.transform(ragged), strict=True):
        expected = codeword_shares(bag, model).mean(0) if len(bag) else np.zeros(3)
        np.testing.assert_allclose(row, expected, atol=1e-12)


@pytest.mark.parametrize(
    "codebook", [np.eye(4)[:3], KMeans(3, random_state=0), MiniBatchKMeans(3, random_state=0), BagOfWords(3)]
)
def test_codebook_from_elsewhere(ragged, codebook):
    model = BagOfWords(codebook=codebook).fit(ragged)
    assert model.codebook_.shape == (3, 4)
    if isinstance(codebook, KMeans):
        fitted = clone(codebook).fit(np.concatenate(ragged))
        np.testing.assert_allclose(BagOfWords(codebook=fitted).fit(ragged).codebook_, fitted.cluster_centers_)
