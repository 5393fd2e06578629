"""The pooling regions of components on feature maps: figure 9 (right) of Sukhbaatar, Makino, Aihara (2013)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.inspection._components import chosen_components, strongest_maps
from sklinvariant.inspection._display import Display
from sklinvariant.inspection._mosaic import label_rows, mosaic, new_axes
from sklinvariant.inspection._style import style


class PoolingRegionDisplay(Display):
    """Plot pooling regions: the weight of each cell of the feature maps, from dark (0) to bright (the largest).

    Parameters
    ----------
    regions : ndarray of shape (n, h, w) or (n, n_maps, h, w)
        Weights over the maps. With several maps per component, each component has a row.
    names : list of n str or None, default=None
        Names of the components.

    Attributes
    ----------
    ax_ : matplotlib axes
        The axes with the regions.
    """

    def __init__(self, regions: np.ndarray, names: Sequence[str] | None = None) -> None:
        self.regions = regions
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        map_shape: Sequence[int],
        *,
        components: int | Sequence[int] = 16,
        n_maps: int | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the pooling regions of a fitted estimator.

        Parameters
        ----------
        estimator : AutoPooling, or another with ``components_`` (n_components, h * w * k)
            The estimator, or a Pipeline that ends with one. Its features are k feature maps of h x w cells, flattened
            in the order (h, w, k).
        map_shape : (h, w)
            Shape of a feature map.
        components : int or list of int, default=16
            Indices of the components, or the number of components, of which those with the largest norms are shown.
        n_maps : int or None, default=None
            Number of feature maps shown for each component, those with the largest sums of weights first (the paper
            shows 15). None shows the sum over all maps.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.decomposition import NMF
        >>> from sklinvariant.inspection import PoolingRegionDisplay
        >>> maps = np.random.default_rng(0).random((50, 6, 6, 3))
        >>> pooling = NMF(4, max_iter=2000, random_state=0).fit(maps.reshape(50, -1))
        >>> PoolingRegionDisplay.from_estimator(pooling, (6, 6), n_maps=2).regions.shape
        (4, 2, 6, 6)
        """
        chosen, weights = chosen_components(estimator, components)
        height, width = map_shape
        if weights.shape[1] % (height * width):
            raise ValueError(
                f"components have {weights.shape[1]} features, which map_shape={(height, width)} does not divide. "
                "Change map_shape."
            )
        if n_maps is not None and n_maps < 1:
            raise ValueError(f"n_maps={n_maps} is not valid. Pass an integer of at least 1, or None.")
        maps = weights.reshape(len(weights), height * width, -1)
        if n_maps is None:
            regions = maps.sum(2).reshape(-1, height, width)
        else:
            best = strongest_maps(maps, n_maps)
            regions = np.take_along_axis(maps, best[:, None], 2).transpose(0, 2, 1).reshape(*best.shape, height, width)
        return cls(regions, [str(i) for i in chosen]).plot(ax, **kwargs)

    @style()
    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot on the given axes, or on new ones."""
        regions = np.asarray(self.regions, np.float64)
        most = regions.reshape(len(regions), -1).max(1)
        tiles = regions / np.where(most > 0, most, 1).reshape(-1, *[1] * (regions.ndim - 1))
        in_rows = tiles.ndim == 4
        columns = tiles.shape[1] if in_rows else int(np.ceil(len(tiles) ** 0.5))
        image = mosaic(tiles.reshape(-1, *tiles.shape[-2:]), columns, fill=np.nan)
        ax = new_axes(image, len(tiles) if in_rows else 1) if ax is None else ax
        drawn = ax.imshow(image, **{"vmin": 0, "vmax": 1, **kwargs})
        label_rows(ax, self.names if in_rows else None, tiles.shape[-2])
        if in_rows:
            ax.set(xlabel="feature maps, largest weight first", ylabel="component")
        else:
            ax.set_xlabel("components, sum over all feature maps")
        ax.set_title("pooling regions")
        bar = ax.figure.colorbar(drawn, ax=ax, ticks=[0, 1], shrink=0.6, label="weight / largest weight")
        bar.ax.tick_params(labelsize=9)
        self.ax_, self.figure_ = ax, ax.figure
        return self
