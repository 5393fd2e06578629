"""The style that all displays share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sklinvariant.inspection._palette import palette

_SETTINGS: dict[Any, Any] = {
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.labelsize": 9,
    "figure.titlesize": 12,
    "image.cmap": "cividis",
    "image.interpolation": "nearest",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.title_fontsize": 9,
    "lines.linewidth": 1.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the displays, within a ``with`` block or as a decorator.

    It sets font sizes, line widths, colours that people with colour blindness can distinguish, and the constrained
    layout. Afterwards, the settings of matplotlib are as they were.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklinvariant.inspection import style
    >>> with style():
    ...     figure, ax = plt.subplots()
    >>> type(figure.get_layout_engine()).__name__
    'ConstrainedLayoutEngine'
    """
    from cycler import cycler
    from matplotlib import rc_context

    with rc_context({**_SETTINGS, "axes.prop_cycle": cycler(color=palette(7).tolist())}):
        yield
