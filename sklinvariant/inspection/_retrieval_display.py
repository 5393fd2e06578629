"""Query images and the images retrieved for them."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.pipeline import Pipeline

from sklinvariant.base import to_numpy
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import columns_of_legend, frame_handles
from sklinvariant.inspection._palette import RIGHT, WRONG
from sklinvariant.inspection._style import style


class RetrievalDisplay(Display):
    """Plot a row of images for each query: the query, then its neighbours, with green frames if correct, else orange.

    Parameters
    ----------
    query_images : array or list of n_queries images
        ``(h, w)`` or ``(h, w, channels)`` each.
    neighbor_images : list of n_queries lists of images
        Nearest first.
    correct : list of n_queries lists of bool, or None, default=None
        Whether each neighbour is correct; None plots no frames.
    captions : list of n_queries lists of str, or None, default=None
        Text above each neighbour, for instance its distance. None shows the ranks.
    frame_names : (str, str), default=("correct", "wrong")
        What a green frame means, and what an orange one, for the legend.
    caption_name : str or None, default=None
        What the captions are, which is written below the images.

    Attributes
    ----------
    axes_ : ndarray of shape (n_queries, 1 + n_neighbors)
        The axes of the images. Each row is a query followed by its neighbours.
    """

    def __init__(
        self,
        query_images: Sequence[np.ndarray],
        neighbor_images: Sequence[Sequence[np.ndarray]],
        correct: Sequence[Sequence[bool]] | None = None,
        captions: Sequence[Sequence[str]] | None = None,
        frame_names: Sequence[str] = ("correct", "wrong"),
        caption_name: str | None = None,
    ) -> None:
        self.query_images = query_images
        self.neighbor_images = neighbor_images
        self.correct = correct
        self.captions = captions
        self.frame_names = frame_names
        self.caption_name = caption_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        query_images: Any,
        database_images: Any,
        *,
        y: Any = None,
        y_database: Any = None,
        frame_names: Sequence[str] = ("correct", "wrong"),
        n_neighbors: int = 8,
        image_shape: Sequence[int] | None = None,
        figure: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Search the neighbours of queries and plot them.

        Parameters
        ----------
        estimator : fitted estimator with ``kneighbors``, or a Pipeline that ends with one
            Its ids must be the rows of ``database_images``, as they are by default.
        X : array of shape (n_queries, n_features)
            The queries, as the estimator takes them.
        query_images, database_images : array or list of images
            Images of the queries and of the stored samples.
        y, y_database : array-like or None, default=None
            Labels of the queries and of the stored samples. Neighbours with the same label are correct.
        frame_names : (str, str), default=("correct", "wrong")
            What a green frame means, and what an orange one. The legend says this; with ids as labels, pass for
            example ``("same image", "another image")``.
        n_neighbors : int, default=8
            Number of neighbours to show for each query.
        """
        if isinstance(estimator, Pipeline):
            X, estimator = estimator[:-1].transform(X) if len(estimator) > 1 else X, estimator[-1]
        distances, rows = (to_numpy(found) for found in estimator.kneighbors(X, n_neighbors))
        return cls.from_predictions(
            rows,
            query_images,
            database_images,
            y=y,
            y_database=y_database,
            frame_names=frame_names,
            distances=distances,
            image_shape=image_shape,
            figure=figure,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        ranking: Any,
        query_images: Any,
        database_images: Any,
        *,
        y: Any = None,
        y_database: Any = None,
        frame_names: Sequence[str] = ("correct", "wrong"),
        distances: Any = None,
        image_shape: Sequence[int] | None = None,
        figure: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot given neighbours.

        Parameters
        ----------
        ranking : array-like of shape (n_queries, n_neighbors), int
            Rows of ``database_images``, nearest first; -1 for none.
        distances : array-like of shape (n_queries, n_neighbors) or None, default=None
            Distances, which are shown above the neighbours.

        Raises
        ------
        ValueError
            If there is no query, or if the numbers of rows, images and labels do not match.
        """
        ranking = np.asarray(to_numpy(ranking))
        if ranking.ndim != 2 or ranking.dtype.kind not in "iu" or len(ranking) == 0:
            raise ValueError(
                f"ranking has dtype {ranking.dtype} and shape {ranking.shape}, but integers of shape (n_queries, "
                "n_neighbors) are required. Pass rows of database_images."
            )
        if len(ranking) != len(query_images):
            raise ValueError(
                f"there are {len(query_images)} query_images, but {len(ranking)} queries. Pass one image for each."
            )
        if (ranking >= len(database_images)).any():
            raise ValueError(
                f"ranking contains row {ranking.max()}, but there are {len(database_images)} database_images. Pass all "
                "images of the database."
            )
        if (y is None) != (y_database is None):
            raise ValueError("only one of y and y_database is given, but both or none are required. Pass both.")
        if y is not None:
            y, y_database = np.asarray(to_numpy(y)), np.asarray(to_numpy(y_database))
            if len(y) != len(ranking):
                raise ValueError(
                    f"y has {len(y)} labels, but there are {len(ranking)} queries. Pass one label for each query."
                )
            if len(y_database) != len(database_images):
                raise ValueError(
                    f"y_database has {len(y_database)} labels, but there are {len(database_images)} database_images. "
                    "Pass one label for each image."
                )
        found = [row[row >= 0] for row in ranking]
        neighbors = [[_image(database_images[i], image_shape) for i in row] for row in found]
        correct = captions = caption_name = None
        if y is not None:
            correct = [y_database[row] == label for row, label in zip(found, y, strict=True)]
        if distances is not None:
            near = [d[row >= 0] for d, row in zip(np.asarray(to_numpy(distances)), ranking, strict=True)]
            caption_name = "distance to the query"
            captions = [[f"{d:.3g}" for d in row] for row in near]
        queries = [_image(image, image_shape) for image in query_images]
        return cls(queries, neighbors, correct, captions, frame_names, caption_name).plot(figure, **kwargs)

    @style()
    def plot(self, figure: Any = None, **kwargs: Any) -> Self:
        """Plot on the given figure, or on a new one."""
        import matplotlib.pyplot as plt

        rows, columns = len(self.query_images), 1 + max(map(len, self.neighbor_images))
        if figure is None:
            figure = plt.figure(figsize=(max(3.6, columns), 1.25 * rows + 0.6))
        axes = figure.subplots(rows, columns, squeeze=False)
        ranks = ["nearest", *(f"{rank}." for rank in range(2, columns))]
        for i in range(rows):
            _show(axes[i, 0], self.query_images[i], kwargs, "query" if i == 0 else "", "black")
            for j in range(columns - 1):
                if j >= len(self.neighbor_images[i]):
                    axes[i, j + 1].set_axis_off()
                    continue
                frame = None if self.correct is None else RIGHT if self.correct[i][j] else WRONG
                above = ranks if i == 0 else [""] * columns
                caption = above[j] if self.captions is None else self.captions[i][j]
                _show(axes[i, j + 1], self.neighbor_images[i][j], kwargs, caption, frame)
        if self.correct is not None or self.caption_name is not None:
            handles = [] if self.correct is None else frame_handles(*self.frame_names)
            title = "frame" if self.caption_name is None else f"above each neighbour: {self.caption_name}"
            ncols = columns_of_legend(self.frame_names, figure)
            figure.legend(handles=handles, loc="outside lower center", ncols=ncols, title=title)
        self.axes_, self.figure_ = axes, figure
        return self


def _image(image, shape):
    image = np.asarray(to_numpy(image))
    image = image if shape is None else image.reshape(shape)
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _show(ax, image, kwargs, caption, frame):
    ax.imshow(image, **{"cmap": "gray", **kwargs})
    ax.set(xticks=[], yticks=[])
    ax.set_title(caption, fontsize=9, pad=3)
    for side in ax.spines.values():
        side.set(visible=frame is not None, color=frame or "none", linewidth=1 if frame == "black" else 3)
