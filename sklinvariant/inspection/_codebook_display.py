"""The codewords of an aggregation, as images or as points."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import label_rows, mosaic, new_axes, stretched
from sklinvariant.inspection._style import style


class CodebookDisplay(Display):
    """Plot codewords as small images, or 2-D codewords as points.

    Parameters
    ----------
    codebook : ndarray of shape (k, d)
        The codewords.
    image_shape : tuple or None, default=None
        ``(h, w)`` or ``(h, w, c)`` of codewords that are images. None plots the first two features as points.

    Attributes
    ----------
    ax_ : matplotlib axes
        The axes with the codewords.
    """

    _shared_docs = """
        **kwargs
            Keyword arguments of ``ax.imshow`` or ``ax.scatter``.
        """

    def __init__(self, codebook: np.ndarray, image_shape: Sequence[int] | None = None) -> None:
        self.codebook = codebook
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, image_shape: Sequence[int] | None = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Plot the codewords of a fitted aggregation.

        Parameters
        ----------
        estimator : BagOfWords, VLAD, FisherVector or a learned one
            The fitted estimator.
        image_shape : tuple or None, default=None
            ``(h, w)`` or ``(h, w, c)`` of codewords that are images. None assumes square patches, or points if d = 2.
        """
        codebook = estimator.means_ if hasattr(estimator, "means_") else estimator.codebook_
        side = round(codebook.shape[1] ** 0.5)
        if image_shape is None and codebook.shape[1] != 2 and side * side == codebook.shape[1]:
            image_shape = (side, side)
        return cls(codebook, image_shape).plot(ax, **kwargs)

    @style()
    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot on the given axes, or on new ones."""
        if self.image_shape is None:
            ax = new_axes(np.empty((4, 5))) if ax is None else ax
            ax.scatter(self.codebook[:, 0], self.codebook[:, 1], **{"marker": "x", "color": "black", **kwargs})
            ax.set(xlabel="first descriptor value", ylabel="second descriptor value")
        else:
            words = stretched(self.codebook).reshape(-1, *self.image_shape)
            image = mosaic(words, columns=int(np.ceil(len(words) ** 0.5)))
            ax = new_axes(image, longest=4.0) if ax is None else ax
            ax.imshow(image, **{"cmap": "gray", **kwargs})
            label_rows(ax, None, self.image_shape[0])
        ax.set_title(f"{len(self.codebook)} codewords")
        self.ax_, self.figure_ = ax, ax.figure
        return self
