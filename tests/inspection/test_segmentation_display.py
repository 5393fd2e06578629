"""Segments beside images: colours that match the classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sklinvariant.inspection import SegmentationDisplay


def test_segments_have_the_colours_of_their_classes(pyplot, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    sizes = [(4, 6), (5, 3)]
    truth = [rng.choice([3, 7, 9], size=size) for size in sizes]
    truth[0][0] = 255
    rename = {3: 2, 7: 0, 9: 1, 255: 1}
    predicted = [np.vectorize(rename.get)(labels) for labels in truth]
    images = [rng.random((*size, 3)) for size in sizes]
    model = SimpleNamespace(predict=lambda images: predicted)
    display = SegmentationDisplay.from_estimator(model, images, truth, ignore_label=255, class_names={3: "sky"})
    assert display.axes_.shape == (2, 3)
    for row, image in zip(display.axes_, images, strict=True):
        shown = [np.asarray(ax.images[0].get_array()) for ax in row]
        np.testing.assert_array_equal(shown[0], image)
        np.testing.assert_array_equal(shown[1], shown[2])
    assert (np.asarray(display.axes_[0, 1].images[0].get_array())[0] == 0).all()
    assert [text.get_text() for text in display.figure_.legends[0].get_texts()] == ["sky", "7", "9"]
    display.figure_.canvas.draw()


def test_more_segments_than_classes(pyplot):
    truth = np.array([[[0, 0, 0, 1, 1, 1]]])
    predicted = np.array([[[0, 0, 2, 1, 1, 3]]])
    images = np.zeros((1, 1, 6, 1), np.uint8)
    union = SegmentationDisplay.from_predictions(predicted, images, truth)
    np.testing.assert_array_equal(union.prediction_colors, union.truth_colors[[0, 1, 0, 1]])
    apart = SegmentationDisplay.from_predictions(predicted, images, truth, match="one-to-one")
    np.testing.assert_array_equal(apart.prediction_colors[:2], apart.truth_colors)
    assert len(np.unique(apart.prediction_colors, axis=0)) == 4
    figure = pyplot.figure()
    alone = SegmentationDisplay.from_predictions(torch.as_tensor(predicted), images, figure=figure, cmap="viridis")
    assert alone.axes_.shape == (1, 2)
    assert alone.figure_ is figure
    assert len(np.unique(alone.prediction_colors, axis=0)) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: segments(predictions=[]), "predictions is empty"),
        (lambda: segments(predictions=np.zeros((1, 2, 2))), "predictions contains dtype"),
        (lambda: segments(predictions=np.full((1, 2, 2), -1)), "from 0"),
        (lambda: segments(predictions=np.zeros((2, 2, 2), int)), "predictions has 2 label maps"),
        (lambda: segments(truth=np.zeros((1, 2, 3), int)), r"truth of image 0 has shape \(2, 3\)"),
        (lambda: segments(truth=np.full((1, 2, 2), 255), ignore_label=255), "no class other than"),
        (lambda: segments(match="best"), "match=.* is unknown"),
        (lambda: segments(images=np.zeros((1, 2, 2, 2))), r"images contains shape \(2, 2, 2\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def segments(**kwargs):
    blank = {"predictions": np.zeros((1, 2, 2), int), "images": np.zeros((1, 2, 2))}
    return SegmentationDisplay.from_predictions(**{**blank, **kwargs})
