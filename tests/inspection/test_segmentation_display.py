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


def test_legend_of_segments_has_the_colours_of_the_prediction(pyplot):
    predicted = np.array([[[0, 0, 3, 1]]])
    display = segments(predictions=predicted, images=np.zeros((1, 1, 4)))
    legend = display.figure_.legends[0]
    numbers = [text.get_text() for text in legend.get_texts()]
    colors = {n: patch.get_facecolor()[:3] for n, patch in zip(numbers, legend.get_patches(), strict=True)}
    assert numbers == ["0", "1", "3"]
    shown = np.asarray(display.axes_[0, 1].images[0].get_array())[0]
    np.testing.assert_allclose(shown, [colors[str(label)] for label in predicted[0, 0]])
    many = segments(predictions=np.arange(26).reshape(1, 2, 13), images=np.zeros((1, 2, 13)))
    assert not many.figure_.legends


@pytest.mark.parametrize("truth", [None, np.ones((22, 4, 4), int)])
def test_many_images_are_laid_out_in_several_columns(pyplot, truth):
    images = np.arange(22)[:, None, None] / 22 * np.ones((4, 4))
    display = segments(predictions=np.zeros((22, 4, 4), int), images=images, truth=truth)
    assert display.axes_.shape == (22, 2 if truth is None else 3)
    for row, image in zip(display.axes_, images, strict=True):
        np.testing.assert_array_equal(row[0].images[0].get_array(), image)
    width, height = display.figure_.get_size_inches()
    assert width <= 15.01
    assert height < 2 * width


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
