"""Images and their segmentations: figure 7 of Ji, Henriques, Vedaldi (2019)."""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.base import as_numpy, to_numpy
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._palette import palette
from sklinvariant.inspection._style import style
from sklinvariant.metrics import match_clusters

_WIDEST = 15.0  # inches, of a figure with many images
_MOST_NUMBERS = 25  # of segments in a legend, whose colours can be distinguished


class SegmentationDisplay(Display):
    """Plot images, the predicted segments, and the true ones in matching colours.

    Each image has a row; of many images, several share a row. The legend shows the classes or, without a truth, the
    numbers of the segments, unless there are more than 25.

    Parameters
    ----------
    images : list of n images
        ``(h, w)`` or ``(h, w, 3)`` each.
    predictions : list of n int arrays of shape (h, w)
        Segments, by number.
    truth : list of n int arrays of shape (h, w), or None
        Classes, by number; -1 is black, in both.
    prediction_colors : ndarray of shape (k, 3)
        Colours of the segments, red, green and blue from 0 to 1.
    truth_colors : ndarray of shape (c, 3) or None, default=None
        Colours of the classes.
    class_names : list of c str or None, default=None
        Names of the classes in the legend.

    Attributes
    ----------
    axes_ : ndarray of shape (n, 2) or (n, 3)
        The axes of the image, the prediction and, if it is given, the truth. Each row of the array is an image, also
        if the figure shows several images in a row.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        predictions: Sequence[np.ndarray],
        truth: Sequence[np.ndarray] | None,
        prediction_colors: np.ndarray,
        truth_colors: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.images = images
        self.predictions = predictions
        self.truth = truth
        self.prediction_colors = prediction_colors
        self.truth_colors = truth_colors
        self.class_names = class_names

    @classmethod
    def from_estimator(cls, estimator: Any, images: Any, truth: Any = None, **kwargs: Any) -> Self:
        """Segment images and plot the result.

        Parameters
        ----------
        estimator : fitted estimator
            Its ``predict`` returns labels (n, h, w), or a list of (h, w).
        images : array or list of n images
            ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 3)`` each, uint8 0-255 or float 0-1.
        truth : array or list of n label maps, or None, default=None
            Classes, as integers.
        **kwargs
            Keyword arguments of `from_predictions`.
        """
        return cls.from_predictions(estimator.predict(images), images, truth, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        predictions: Any,
        images: Any,
        truth: Any = None,
        *,
        match: str = "auto",
        ignore_label: int | None = None,
        class_names: dict[int, str] | None = None,
        figure: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot segments next to images and the ground truth.

        Parameters
        ----------
        predictions : array of shape (n, h, w) or list of n arrays (h, w)
            Segments, numbered from 0.
        images : array or list of n images
            ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 3)`` each, uint8 0-255 or float 0-1.
        truth : array of shape (n, h, w), list of n arrays (h, w), or None, default=None
            Classes, as integers.
        match : {"auto", "one-to-one", "many-to-one"}, default="auto"
            Segments have the colour of the class assigned to them over all images, see
            `sklinvariant.metrics.match_clusters`. "auto" is "one-to-one" if there are at most as many segments as
            classes, else "many-to-one". Unmatched segments have separate colours.
        ignore_label : int or None, default=None
            Pixels of this class are black, also in the prediction.
        class_names : dict of {class: str}, or None, default=None
            Names in the legend; None shows the class labels.
        **kwargs
            Keyword arguments of ``imshow`` for the images.

        Examples
        --------
        >>> import numpy as np
        >>> from sklinvariant.inspection import SegmentationDisplay
        >>> truth = np.repeat([[0, 0, 1, 1]], 4, axis=0)[None]
        >>> display = SegmentationDisplay.from_predictions(1 - truth, truth / 2, truth)
        >>> bool((display.prediction_colors[[1, 0]] == display.truth_colors).all())
        True
        """
        if match not in ("auto", "one-to-one", "many-to-one"):
            raise ValueError(f"match={match!r} is unknown. Choose 'auto', 'one-to-one' or 'many-to-one'.")
        images, predictions = [_image(image) for image in images], _maps("predictions", predictions)
        truth = None if truth is None else _maps("truth", truth)
        for name, maps in {"predictions": predictions, "truth": truth}.items():
            _check_sizes(images, name, maps)
        k = 1 + max(int(labels.max()) for labels in predictions)
        if min(int(labels.min()) for labels in predictions) < 0:
            raise ValueError(
                "predictions contains negative numbers, but segments must be numbered from 0. Renumber them."
            )
        if truth is None:
            return cls(images, predictions, None, palette(k)).plot(figure, **kwargs)
        classes = np.unique(np.concatenate([np.unique(labels) for labels in truth]))
        classes = classes[classes != ignore_label] if ignore_label is not None else classes
        if not len(classes):
            raise ValueError(f"truth has no class other than ignore_label={ignore_label}")
        match = ("one-to-one" if k <= len(classes) else "many-to-one") if match == "auto" else match
        codes = [_coded(labels, classes) for labels in truth]
        stands_for = match_clusters(codes, predictions, k, match=match, ignore_label=-1)
        alone = np.flatnonzero(stands_for < 0)
        colors = palette(len(classes) + len(alone))
        stands_for[alone] = len(classes) + np.arange(len(alone))
        shown = [np.where(true < 0, -1, labels) for labels, true in zip(predictions, codes, strict=True)]
        names = [str((class_names or {}).get(label, label)) for label in classes.tolist()]
        return cls(images, shown, codes, colors[stands_for], colors[: len(classes)], names).plot(figure, **kwargs)

    @style()
    def plot(self, figure: Any = None, **kwargs: Any) -> Self:
        """Plot on the given figure, or on a new one.

        Parameters
        ----------
        **kwargs
            For ``imshow`` of the images.
        """
        import matplotlib.pyplot as plt

        n, columns = len(self.images), 2 if self.truth is None else 3
        side_by_side = max(1, math.isqrt(n // columns))
        rows, all_columns = math.ceil(n / side_by_side), side_by_side * columns
        if figure is None:
            height, width = np.shape(self.images[0])[:2]
            panel = min(2.2, _WIDEST / all_columns)
            figure = plt.figure(figsize=(panel * all_columns, panel * rows * height / width + 0.6))
        panels = figure.subplots(rows, all_columns, squeeze=False).reshape(-1, columns)
        for ax in panels.flat:
            ax.set_axis_off()
        axes = panels[:n]
        for i, row in enumerate(axes):
            row[0].imshow(self.images[i], **{"cmap": "gray", **kwargs})
            row[1].imshow(_colored(self.predictions[i], self.prediction_colors))
            if self.truth is not None:
                row[2].imshow(_colored(self.truth[i], self.truth_colors))
        for row in axes[:side_by_side]:
            for ax, title in zip(row, ("image", "prediction", "truth"), strict=False):
                ax.set_title(title)
        self._draw_legend(figure, all_columns)
        self.axes_, self.figure_ = axes, figure
        return self

    def _draw_legend(self, figure, columns):
        from matplotlib.patches import Patch

        names: Any = self.class_names
        colors, title, ncols = self.truth_colors, "class", columns + 1
        if self.truth is None:
            shown = np.unique(np.concatenate([np.unique(labels) for labels in self.predictions]))
            numbers = shown[shown >= 0]
            names = numbers if len(numbers) <= _MOST_NUMBERS else None
            colors, title, ncols = self.prediction_colors[numbers], "segment", 3 * columns
        if names is None or colors is None:
            return
        patches = [Patch(color=color, label=str(name)) for color, name in zip(colors, names, strict=True)]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(ncols, len(patches)), title=title)


def _colored(labels, colors):
    """Labels (h, w) as an RGB image; -1 is black."""
    return np.concatenate([colors, np.zeros((1, 3))])[labels]


def _coded(labels, classes):
    """Labels as indices of the classes, or -1 for other labels."""
    places = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return np.where(classes[places] == labels, places, -1)


def _image(image):
    image = as_numpy(to_numpy(image))
    image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"images contains shape {image.shape}, but (h, w[, 1 or 3]) is required. Reshape the images.")
    return image


def _maps(name, maps):
    maps = [as_numpy(to_numpy(labels)) for labels in maps]
    if not maps:
        raise ValueError(f"{name} is empty, but a label map for each image is required. Pass at least one.")
    for labels in maps:
        if labels.ndim != 2 or labels.dtype.kind not in "biu" or labels.size == 0:
            raise ValueError(
                f"{name} contains dtype {labels.dtype} and shape {labels.shape}, but integers (h, w) for each image "
                "are required. Convert the label maps."
            )
    return [labels.astype(np.int64) for labels in maps]


def _check_sizes(images, name, maps):
    if maps is None:
        return
    if len(maps) != len(images):
        raise ValueError(f"{name} has {len(maps)} label maps, but there are {len(images)} images. Pass one for each.")
    for i, (image, labels) in enumerate(zip(images, maps, strict=True)):
        if image.shape[:2] != labels.shape:
            raise ValueError(
                f"{name} of image {i} has shape {labels.shape}, but the image has {image.shape[:2]}. Both must be "
                "equal: resize one of them."
            )
