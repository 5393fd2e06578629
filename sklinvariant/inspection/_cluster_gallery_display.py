"""The images of each cluster that have the most certain predictions."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.base import as_numpy, to_numpy
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import frame_handles, label_rows, mosaic, new_axes
from sklinvariant.inspection._palette import RIGHT, WRONG
from sklinvariant.inspection._style import style
from sklinvariant.metrics import match_clusters


class ClusterGalleryDisplay(Display):
    """Plot a row of images for each cluster, most certain first. With classes, wrong images have orange frames.

    Parameters
    ----------
    images : ndarray of shape (n, h, w) or (n, h, w, 3)
        Images with values between 0 and 1.
    members : list of lists of int
        Indices of the images of each cluster, most certain first.
    names : list of str or None, default=None
        Names of the clusters.
    correct : ndarray of shape (n,) of bool, or None, default=None
        Whether each image has a green frame rather than an orange one; None plots no frames.

    Attributes
    ----------
    ax_ : matplotlib axes
        The axes with the images of the clusters.
    """

    def __init__(
        self,
        images: np.ndarray,
        members: Sequence[Sequence[int]],
        names: Sequence[str] | None = None,
        correct: np.ndarray | None = None,
    ) -> None:
        self.images = images
        self.members = members
        self.names = names
        self.correct = correct

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, images: Any = None, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the images of which an estimator is most certain.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``, or with ``predict`` alone
            Without probabilities, the first images of each cluster are shown; for KMeans and others whose ``transform``
            returns the distances to the clusters, the nearest ones.
        images : array of n images, or None, default=None
            Images of the samples; None takes X.
        **kwargs
            Keyword arguments of `from_predictions`.

        Examples
        --------
        >>> from sklearn.cluster import KMeans
        >>> from sklearn.datasets import load_digits
        >>> from sklinvariant.inspection import ClusterGalleryDisplay
        >>> X, y = load_digits(return_X_y=True)
        >>> model = KMeans(10, random_state=0).fit(X)
        >>> display = ClusterGalleryDisplay.from_estimator(model, X, image_shape=(8, 8), y=y, n_images=3)
        >>> len(display.members), len(display.members[0])
        (10, 3)
        """
        return cls.from_predictions(_certainty(estimator, X), X if images is None else images, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        predictions: Any,
        images: Any,
        *,
        y: Any = None,
        clusters: Sequence[int] | None = None,
        n_images: int = 10,
        image_shape: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot images of each cluster.

        Parameters
        ----------
        predictions : array of shape (n, k), or (n,)
            Certainty of each image and cluster, such as probabilities; an image belongs to the cluster with the
            largest. Or cluster labels, in which case the first images of each cluster are shown.
        images : array of shape (n, h, w), (n, h, w, c) or (n, h * w * c)
            Images: uint8 0-255, or other numbers, which are scaled by their common range.
        y : array-like of shape (n,) or None, default=None
            Classes. A cluster is named after its most frequent class. Its images of this class have green frames,
            others orange ones.
        clusters : list of int or None, default=None
            Clusters to show; None shows all that have images.
        n_images : int, default=10
            Maximum number of images per cluster.
        """
        predictions = as_numpy(to_numpy(predictions))
        if predictions.ndim not in (1, 2) or predictions.dtype.kind not in "fiub" or 0 in predictions.shape:
            raise ValueError(
                f"predictions has dtype {predictions.dtype} and shape {predictions.shape}, but numbers of shape (n, k) "
                "or (n,) are required. Pass probabilities or cluster labels."
            )
        scaled = _scaled_images(images, image_shape)
        if len(scaled) != len(predictions):
            raise ValueError(
                f"there are {len(scaled)} images, but {len(predictions)} predictions. Pass one image for each."
            )
        if n_images < 1:
            raise ValueError(f"n_images={n_images} is not valid. Pass an integer of at least 1.")
        labels = predictions if predictions.ndim == 1 else predictions.argmax(1)
        certainty = np.zeros(len(labels)) if predictions.ndim == 1 else predictions.max(1)
        order = np.argsort(-certainty, kind="stable")
        shown = np.unique(labels) if clusters is None else np.asarray(clusters)
        members = [order[labels[order] == cluster][:n_images].tolist() for cluster in shown]
        names, correct = [f"cluster {cluster}" for cluster in shown.tolist()], None
        if y is not None:
            y = as_numpy(to_numpy(y))
            if y.shape != (len(labels),):
                raise ValueError(
                    f"y has shape {y.shape}, but there are {len(labels)} images. Pass one class for each image."
                )
            used, codes = np.unique(labels, return_inverse=True)
            stands_for = match_clusters(y, codes, match="many-to-one")
            correct = stands_for[codes] == y
            class_of = dict(zip(used.tolist(), stands_for.tolist(), strict=True))
            names = [
                f"{name} (class {class_of[c]})" if c in class_of else name
                for name, c in zip(names, shown.tolist(), strict=True)
            ]
        return cls(scaled, members, names, correct).plot(ax, **kwargs)

    @style()
    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot on the given axes, or on those of a new figure."""
        from matplotlib.colors import to_rgb

        images, correct = np.asarray(self.images), self.correct
        columns = max(1, *map(len, self.members))
        border = 0 if correct is None else max(1, round(max(images.shape[1:3]) / 16))
        shape = (images.shape[1] + 2 * border, images.shape[2] + 2 * border, 3)
        tiles = np.ones((len(self.members) * columns, *shape))  # empty tiles are white
        for row, members in enumerate(self.members):
            for column, i in enumerate(members):
                tile = tiles[row * columns + column]
                if correct is not None:
                    tile[:] = to_rgb(RIGHT if correct[i] else WRONG)
                inside = tile[border : shape[0] - border, border : shape[1] - border]
                inside[:] = images[i] if images.ndim == 4 else images[i, ..., None]
        image = mosaic(tiles, columns)
        ax = new_axes(image, len(self.members), names=self.names) if ax is None else ax
        ax.imshow(image, **kwargs)
        label_rows(ax, self.names, shape[0])
        ax.set_title("images of each cluster, most certain first")
        if correct is not None:
            handles = frame_handles("most frequent class of the cluster", "another class")
            ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), title="frame")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _certainty(estimator, X):
    """Certainties (n, k) if the estimator provides them, else cluster labels (n,)."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X)
    labels = as_numpy(to_numpy(estimator.predict(X)))
    if hasattr(estimator, "transform"):
        distances = as_numpy(to_numpy(estimator.transform(X)))
        rows = np.arange(len(labels))
        of_clusters = distances.ndim == 2 and labels.max() < distances.shape[1] and labels.min() >= 0
        if of_clusters and (distances.argmin(1) == labels).all():
            certainty = np.full(distances.shape, -np.inf)
            certainty[rows, labels] = -distances[rows, labels]
            return certainty
    return labels


def _scaled_images(images, shape):
    """Images (n, h, w) or (n, h, w, 3), scaled to [0, 1]."""
    images = as_numpy(to_numpy(images))
    images = images if shape is None else images.reshape(len(images), *shape)
    images = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape:
        raise ValueError(
            f"images has shape {images.shape}, but (n, h, w[, 1 or 3]), or rows with image_shape, are required. "
            "Reshape the images, or set image_shape."
        )
    if images.dtype == np.uint8:
        return images / 255
    low, span = float(images.min()), float(np.ptp(images.astype(np.float64)))
    if low >= 0 and low + span <= 1:
        return images.astype(np.float64)
    return (images.astype(np.float64) - low) / (span or 1)
