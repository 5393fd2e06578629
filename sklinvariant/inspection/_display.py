"""The base of the displays, which documents what they share."""

from sklinvariant.base import Documented


class Display(Documented):
    """Base of the displays.

    Attributes
    ----------
    figure_ : matplotlib figure
        The figure that was drawn on.
    """

    _shared_docs = """
        X : array of n samples
            Samples, as the estimator takes them.
        image_shape : tuple or None
            ``(h, w)`` or ``(h, w, c)`` of images passed as flat rows.
        ax : matplotlib axes or None
            Axes to plot on. None creates new ones. Create the figure with ``layout="constrained"``, which makes room
            for labels and legends; other layouts may cut them off.
        figure : matplotlib figure or None
            Figure to plot on. None creates a new one. Create it with ``layout="constrained"``, which makes room for
            labels and legends; other layouts may cut them off.
        **kwargs
            Keyword arguments of ``imshow``.
        """
