"""The codewords of an aggregation, as images or as points."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import mosaic, stretched


class CodebookDisplay(Display):
    """Plot codewords as small images, or 2-D codewords as points.

    Parameters
    ----------
    codebook : ndarray of shape (k, d)
        The codewords.
    patch_shape : tuple or None
        ``(h, w)`` or ``(h, w, c)`` of codewords that are images.

    Attributes
    ----------
    ax_ : matplotlib axes
    """

    _shared_docs = """
        ax : matplotlib axes or None
            Axes to plot on. None takes the current ones.
        **kwargs
            Keyword arguments of ``ax.imshow`` or ``ax.scatter``.
        """

    def __init__(self, codebook: np.ndarray, patch_shape: Sequence[int] | None = None) -> None:
        self.codebook = codebook
        self.patch_shape = patch_shape

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, patch_shape: Sequence[int] | None = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Plot the codewords of a fitted aggregation.

        Parameters
        ----------
        estimator : BagOfWords, VLAD, FisherVector or a learned one
            The fitted estimator.
        patch_shape : tuple or None, default=None
            As above; None assumes square patches, or points if d = 2.
        """
        codebook = estimator.means_ if hasattr(estimator, "means_") else estimator.codebook_
        side = round(codebook.shape[1] ** 0.5)
        if patch_shape is None and codebook.shape[1] != 2 and side * side == codebook.shape[1]:
            patch_shape = (side, side)
        return cls(codebook, patch_shape).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot on the given axes, or on the current ones."""
        import matplotlib.pyplot as plt

        ax = plt.gca() if ax is None else ax
        if self.patch_shape is None:
            ax.scatter(self.codebook[:, 0], self.codebook[:, 1], **{"marker": "x", "color": "black", **kwargs})
        else:
            words = stretched(self.codebook).reshape(-1, *self.patch_shape)
            ax.imshow(mosaic(words, columns=int(np.ceil(len(words) ** 0.5))), **{"cmap": "gray", **kwargs})
            ax.set_axis_off()
        self.ax_, self.figure_ = ax, ax.figure
        return self
