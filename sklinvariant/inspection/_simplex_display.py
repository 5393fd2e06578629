"""Cluster probabilities on a simplex: figure 3 of Ji, Henriques, Vedaldi (2019)."""

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.base import as_numpy, to_numpy
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import stretched
from sklinvariant.inspection._palette import palette
from sklinvariant.inspection._style import style

_FEW = 25  # largest number of classes in a legend


class SimplexDisplay(Display):
    """Plot each sample as a convex combination of vertices on a circle, weighted by its cluster probabilities.

    Each vertex stands for a cluster. A sample with a certain prediction lies on the vertex of its cluster, a sample
    between two clusters on the line between their vertices. A sample with uniform probabilities lies in the centre, as
    does a mixture of opposite clusters.

    Parameters
    ----------
    probabilities : ndarray of shape (n, k)
        Probability of each cluster for each sample.
    y : ndarray of shape (n,) or None, default=None
        Classes, which determine the colours. None colours by the most likely cluster.
    vertex_images : list of k images or None, default=None
        Images shown at the vertices; None for a vertex without image.

    Attributes
    ----------
    points_ : ndarray of shape (n, 2)
        Positions of the samples, within the unit circle.
    ax_ : matplotlib axes
        The axes with the samples.
    """

    _shared_docs = """
        y : array-like of shape (n,) or None
            Classes, for the colours. None colours by the most likely cluster.
        **kwargs
            Keyword arguments of ``scatter``. Arrays of length n have one item for each sample.
        """

    def __init__(
        self,
        probabilities: np.ndarray,
        y: np.ndarray | None = None,
        vertex_images: Sequence[np.ndarray | None] | None = None,
    ) -> None:
        self.probabilities = probabilities
        self.y = y
        self.vertex_images = vertex_images

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        y: Any = None,
        images: Any = None,
        image_shape: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the probabilities that an estimator predicts for samples.

        Parameters
        ----------
        estimator : fitted estimator with ``predict_proba``
        images : array or list of n images, or None, default=None
            Images of the samples. The mean image of each cluster is drawn next to its vertex.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.mixture import GaussianMixture
        >>> from sklinvariant.inspection import SimplexDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> model = GaussianMixture(3, random_state=0).fit(X)
        >>> SimplexDisplay.from_estimator(model, X, y=y).points_.shape
        (150, 2)
        """
        proba = estimator.predict_proba(X)
        return cls.from_predictions(proba, y=y, images=images, image_shape=image_shape, ax=ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        probabilities: Any,
        *,
        y: Any = None,
        images: Any = None,
        image_shape: Sequence[int] | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot probabilities.

        Parameters
        ----------
        probabilities : array of shape (n, k)
        """
        proba = _checked(probabilities)
        y = None if y is None else _check_length(y, len(proba), "y")
        return cls(proba, y, mean_images(proba, images, image_shape)).plot(ax, **kwargs)

    @classmethod
    def animate(
        cls,
        frames: Sequence[Any],
        path: str | os.PathLike,
        *,
        y: Any = None,
        titles: Sequence[str] | None = None,
        interval: int = 200,
        dpi: int = 80,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Write an animated GIF of the samples, epoch by epoch.

        Parameters
        ----------
        frames : list of arrays of shape (n, k)
            Probabilities of the same samples, epoch by epoch.
        path : str or path-like
            The file, ``.gif``.
        titles : list of str or None, default=None
            Title of each frame; None counts epochs from 0.
        interval : int, default=200
            Duration of a frame in milliseconds; the last frame is shown 5 times as long.
        dpi : int, default=80
            Resolution of the figure, which is 5 x 5 inches; 80 gives 400 x 400 pixels.
            The display of the last frame.
        """
        from matplotlib.animation import PillowWriter

        frames = [_checked(frame) for frame in frames]
        if not frames or len({frame.shape for frame in frames}) > 1:
            raise ValueError(
                f"frames has shapes {[frame.shape for frame in frames]}, but at least one frame is required, and all "
                "must have the same shape (n, k). Pass probabilities of the same samples."
            )
        titles = [f"epoch {i}" for i in range(len(frames))] if titles is None else list(titles)
        if len(titles) != len(frames):
            raise ValueError(
                f"there are {len(titles)} titles, but {len(frames)} frames. Pass one title for each frame."
            )
        if interval < 20:
            raise ValueError(f"interval={interval} is too short. Pass at least 20 milliseconds.")
        y = None if y is None else _check_length(y, len(frames[0]), "y")
        display = cls(frames[-1], y).plot(ax, **kwargs)
        writer = PillowWriter(fps=1000 / interval)  # type: ignore[arg-type]  # which accepts fractions
        with writer.saving(display.figure_, os.fspath(path), dpi):
            for frame, title in zip(frames, titles, strict=True):
                display._move(frame @ vertices(frame.shape[1]))
                display.ax_.set_title(title)
                writer.grab_frame()
            for _ in range(4):
                writer.grab_frame()
        return display

    @style()
    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot on the given axes, or on those of a new figure."""
        import matplotlib.pyplot as plt
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        if ax is None:
            _, ax = plt.subplots(figsize=(5, 5))
        k = self.probabilities.shape[1]
        corners = vertices(k)
        ax.fill(*corners.T, facecolor="none", edgecolor="0.85", linewidth=1, zorder=0)
        classes = self.probabilities.argmax(1) if self.y is None else self.y
        names, first, codes = np.unique(classes, return_index=True, return_inverse=True)
        # colours depend on the index of a cluster, even if some clusters are never the most probable
        colors = palette(k)[names] if self.y is None else palette(len(names))
        self.points_ = self.probabilities @ corners
        self._order = np.random.RandomState(0).permutation(len(codes))  # so that no class covers the others
        drawn = self._style(colors[codes], kwargs)
        self._dots = ax.scatter(*self.points_[self._order].T, **_of_samples(drawn, self._order, len(codes)))
        for i, (x, y) in enumerate(corners):
            image = None if self.vertex_images is None else self.vertex_images[i]
            if image is None:
                ax.annotate(str(i), (1.12 * x, 1.12 * y), ha="center", va="center", color="0.4")
                continue
            box = OffsetImage(image, zoom=min(36, 600 / k) / max(image.shape[:2]), cmap="gray")
            ax.add_artist(AnnotationBbox(box, (1.22 * x, 1.22 * y), pad=0.1, bboxprops={"edgecolor": "0.7"}))
        limit = 1.25 if self.vertex_images is None else 1.42
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title="cluster probabilities")
        ax.set_axis_off()
        if self.y is not None and len(names) <= _FEW:
            place = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "handletextpad": 0.1}
            styles = [_of_samples(drawn, [row], len(codes)) | {"s": 25, "alpha": 1} for row in first]
            dots = [ax.scatter([], [], **style) for style in styles]
            ax.legend(dots, map(str, names), **place, title="class", ncols=1 + len(names) // 16)
            for dot in dots:
                dot.remove()  # from the axes; the legend has a copy
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _style(self, colors, kwargs):
        size = float(np.clip(3e4 / len(self.probabilities), 2, 20))
        return {"color": colors, "s": size, "alpha": 0.6, "linewidth": 0, **kwargs}

    def _move(self, points):
        self.points_ = points
        self._dots.set_offsets(points[self._order])


def _of_samples(drawn, rows, n):
    """Keyword arguments of ``scatter`` for some of n samples: rows of those that have one item for each sample."""
    from matplotlib.colors import is_color_like

    chosen = dict(drawn)
    for name, value in drawn.items():
        is_one = isinstance(value, str) or name == "marker" or ("color" in name and is_color_like(value))
        if not is_one and np.ndim(value) and len(value) == n:
            items = list(value)
            chosen[name] = [items[row] for row in rows]
    return chosen


def vertices(k: int) -> np.ndarray:
    """Vertices of k clusters (k, 2) on the unit circle, clockwise from the top; a single vertex is in the centre."""
    if k == 1:
        return np.zeros((1, 2))
    angles = np.pi / 2 - 2 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def mean_images(probabilities: Any, images: Any, image_shape: Sequence[int] | None) -> list[np.ndarray | None] | None:
    """The mean image of each cluster, scaled to 0-1, or None for a cluster without images."""
    if images is None:
        return None
    images = as_numpy(to_numpy(images)).astype(np.float64)
    if len(images) != len(probabilities):
        raise ValueError(f"there are {len(images)} images, but {len(probabilities)} samples. Pass one for each")
    images = images if image_shape is None else images.reshape(len(images), *image_shape)
    images = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    if images.ndim not in (3, 4):
        raise ValueError(f"images must be (n, h, w[, c]), or rows with image_shape, got shape {images.shape}")
    best = probabilities.argmax(1)
    means = [images[best == i].mean(0) if (best == i).any() else None for i in range(probabilities.shape[1])]
    return [None if mean is None else stretched(mean[None])[0] for mean in means]


def _checked(probabilities):
    proba = as_numpy(to_numpy(probabilities))
    if proba.ndim != 2 or 0 in proba.shape or proba.dtype.kind not in "fiub":
        raise ValueError(f"probabilities must be numbers (n, k), got {proba.dtype} of shape {proba.shape}")
    proba = proba.astype(np.float64)
    wrong = ~((proba >= -1e-6).all(1) & (np.abs(proba.sum(1) - 1) < 1e-2))
    if wrong.any():
        raise ValueError(f"row {wrong.argmax()} of probabilities is not positive, or does not sum to 1")
    return proba


def _check_length(y, n, name):
    y = as_numpy(to_numpy(y))
    if y.shape != (n,):
        raise ValueError(f"{name} of shape {y.shape} for {n} samples")
    return y
