"""The mean activations of the bits of a code (figure 5 (a) of Morère et al. 2016), and their correlation."""

from typing import Any, Self

import numpy as np
from sklearn.pipeline import Pipeline

from sklinvariant.base import to_numpy
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._style import style
from sklinvariant.metrics import bit_activations, bit_correlation


class BitActivationDisplay(Display):
    """Plot the mean activation of each bit, with the ideal 0.5, and the correlation matrix of the bits.

    Parameters
    ----------
    activations : ndarray of shape (n_bits,)
        Mean of each bit.
    correlation : ndarray of shape (n_bits, n_bits) or None, default=None
        Correlation matrix of the bits. None plots only the activations.
    name : str or None, default=None
        Title of the plot.

    Attributes
    ----------
    axes_ : ndarray of shape (1,) or (2,)
        The axes of the activations, and of the correlations if there are any.
    """

    _shared_docs = """
        **kwargs
            Keyword arguments of ``stairs``, which draws the activations.
        """

    def __init__(self, activations: np.ndarray, correlation: np.ndarray | None = None, name: str | None = None) -> None:
        self.activations = activations
        self.correlation = correlation
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        packed: bool | None = None,
        name: str | None = None,
        figure: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the bits of the codes that a hasher returns.

        Parameters
        ----------
        estimator : fitted transformer to codes
            The hasher.
        X : array of shape (n, n_features)
            Features.
        packed : bool or None, default=None
            Whether the codes are packed. None takes the parameter ``packed`` of the estimator or of the last step of a
            Pipeline, if it has one.
        name : str or None, default=None
            Title of the plot. None takes the class name of the estimator.
        """
        last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        packed = getattr(last, "packed", False) if packed is None else packed
        name = type(estimator).__name__ if name is None else name
        codes = estimator.transform(X)
        if packed and hasattr(last, "n_bits"):  # without the padding of the last byte
            codes, packed = np.unpackbits(np.asarray(to_numpy(codes)), axis=1, count=last.n_bits), False
        return cls.from_predictions(codes, packed=packed, name=name, figure=figure, **kwargs)

    @classmethod
    def from_predictions(
        cls, codes: Any, *, packed: bool = False, name: str | None = None, figure: Any = None, **kwargs: Any
    ) -> Self:
        """Plot the bits of codes.

        Parameters
        ----------
        codes : array of shape (n, n_bits) of 0 and 1, or (n, n_bytes) uint8 if ``packed``
            The codes.
        packed : bool, default=False
            Whether the codes are bytes that hold 8 bits each.
        """
        activations = bit_activations(codes, packed=packed)
        return cls(activations, bit_correlation(codes, packed=packed), name).plot(figure, **kwargs)

    @style()
    def plot(self, figure: Any = None, **kwargs: Any) -> Self:
        """Plot on the given figure, or on a new one."""
        import matplotlib.pyplot as plt

        n_axes = 1 if self.correlation is None else 2
        figure = plt.figure(figsize=(4.8 * n_axes, 3.6)) if figure is None else figure
        axes = figure.subplots(1, n_axes, squeeze=False)[0]
        n_bits = len(self.activations)
        edges = np.arange(n_bits + 1) - 0.5
        axes[0].stairs(self.activations, edges, **{"fill": True, **kwargs})
        axes[0].axhline(0.5, color="black", linestyle="--", linewidth=1)
        axes[0].set(xlabel="bit", ylabel="mean activation (ideal: 0.5)", ylim=(0, 1), xlim=(-0.5, n_bits - 0.5))
        axes[0].set_title(f"bits of {self.name}" if self.name else "bits")
        axes[0].xaxis.get_major_locator().set_params(integer=True)
        if self.correlation is not None:
            image = axes[1].imshow(self.correlation, cmap="RdBu_r", vmin=-1, vmax=1)
            axes[1].set(xlabel="bit", ylabel="bit", title="correlation of the bits")
            figure.colorbar(image, ax=axes[1], label="correlation", ticks=[-1, 0, 1])
        self.axes_, self.figure_ = axes, figure
        return self
