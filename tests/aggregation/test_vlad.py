"""VLAD against a plain loop."""

import numpy as np
import pytest
from examples import codeword_shares

from sklinvariant.aggregation import VLAD


@pytest.mark.parametrize("assignment", ["hard", "soft"])
@pytest.mark.parametrize("normalization", [None, "l2", "power", "intra"])
def test_vlad_is_a_loop(ragged, assignment, normalization):
    model = VLAD(3, assignment=assignment, normalization=normalization, random_state=0).fit(ragged)
    for bag, row in zip(ragged, model.transform(ragged), strict=True):
        expected = np.zeros((3, 4))
        for f, share in zip(bag, codeword_shares(bag, model), strict=True):
            expected += share[:, None] * (f - model.codebook_) / len(bag)
        if normalization == "intra":
            expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
        if normalization == "power":
            expected = np.sign(expected) * np.sqrt(np.abs(expected))
        if normalization is not None:
            expected /= np.linalg.norm(expected) or 1
        np.testing.assert_allclose(row, expected.ravel(), atol=1e-3 if normalization == "power" else 1e-12)
