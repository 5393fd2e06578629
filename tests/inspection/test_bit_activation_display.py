"""Activations of bits and their correlation."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer
from tolerance import assert_close

from sklinvariant.hashing import LSHHasher
from sklinvariant.inspection import BitActivationDisplay


@pytest.fixture
def digits():
    return load_digits(return_X_y=True)


def test_bits_are_drawn(pyplot, digits):
    X = digits[0][:, [10, 12, 18, 19, 20, 26, 28, 36]]
    model = Binarizer(threshold=7).fit(X)
    codes = model.transform(X)
    display = BitActivationDisplay.from_estimator(model, X)
    np.testing.assert_allclose(display.axes_[0].patches[0].get_data().values, codes.mean(0))
    np.testing.assert_allclose(display.axes_[1].images[0].get_array(), np.corrcoef(codes.T))
    assert display.axes_[0].lines[0].get_ydata() == [0.5, 0.5]
    assert display.axes_[0].get_title() == "bits of Binarizer"
    display.figure_.canvas.draw()


def test_packed_bits_and_a_figure_of_ones_own(pyplot, digits):
    codes = (digits[0][:, 20:28] > 7).astype(np.uint8)
    expected = BitActivationDisplay.from_predictions(codes)
    figure = pyplot.figure()
    display = BitActivationDisplay.from_predictions(
        np.packbits(codes, axis=1), packed=True, figure=figure, color="grey"
    )
    assert_close(display.activations, expected.activations)
    assert_close(display.correlation, expected.correlation)
    assert display.figure_ is figure
    packs = FunctionTransformer(lambda X: np.packbits(X, axis=1))
    packs.packed = True
    for model in (packs, make_pipeline(packs)):
        got = BitActivationDisplay.from_estimator(model.fit(codes), codes, name="bits")
        assert_close(got.activations, expected.activations)
    assert len(BitActivationDisplay(display.activations).plot().axes_) == 1


def test_bits_that_fill_a_byte_are_not_drawn(pyplot, digits):
    hasher = LSHHasher(13, packed=True, random_state=0).fit(digits[0])
    display = BitActivationDisplay.from_estimator(hasher, digits[0])
    bits = hasher.set_params(packed=False).transform(digits[0])
    np.testing.assert_allclose(display.activations, bits.mean(0))
