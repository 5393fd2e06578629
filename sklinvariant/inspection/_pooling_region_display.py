"""Where on feature maps a component pools: the right side of figure 9 of Sukhbaatar, Makino, Aihara (2013)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sklinvariant.inspection._components import chosen_components, strongest_maps
from sklinvariant.inspection._mosaic import label_rows, mosaic, new_axes


class PoolingRegionDisplay:
    """Draws pooling regions: the weight of each place of the feature maps, none grey, most white.

    Parameters
    ----------
    regions : ndarray of shape (n, h, w) or (n, n_maps, h, w)
        Weights over the maps; of several maps a component, one row is drawn for each component.
    names : list of n str or None, default=None
        Of the components.

    Attributes
    ----------
    ax_, figure_
        matplotlib's, once drawn.
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
        """Draw where components of a fitted pooling pool.

        Parameters
        ----------
        estimator : AutoPooling, or another with ``components_`` (n_components, h * w * k)
            Its features are k feature maps of h x w places, flattened in the order (h, w, k). Of a Pipeline, the last
            step.
        map_shape : (h, w)
            Of a feature map.
        components : int or list of int, default=16
            Which; an int takes as many, those of the largest norm.
        n_maps : int or None, default=None
            Draw, for each component, the regions on this many feature maps, those with the largest sum of weights first
            (the paper draws 15). None draws the sum over all maps.
        ax : matplotlib axes or None, default=None
            Where to draw.
        **kwargs
            For ``imshow``.

        Returns
        -------
        PoolingRegionDisplay

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
                f"components of {weights.shape[1]} features are no feature maps of map_shape={(height, width)}"
            )
        if n_maps is not None and n_maps < 1:
            raise ValueError(f"n_maps must be at least 1, or None, got {n_maps}")
        maps = weights.reshape(len(weights), height * width, -1)
        if n_maps is None:
            regions = maps.sum(2).reshape(-1, height, width)
        else:
            best = strongest_maps(maps, n_maps)
            regions = np.take_along_axis(maps, best[:, None], 2).transpose(0, 2, 1).reshape(*best.shape, height, width)
        return cls(regions, [str(i) for i in chosen]).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on an axes, a new one when None.

        Parameters
        ----------
        ax : matplotlib axes or None, default=None
        **kwargs
            For ``imshow``.

        Returns
        -------
        PoolingRegionDisplay
        """
        regions = np.asarray(self.regions, np.float64)
        most = regions.reshape(len(regions), -1).max(1)
        tiles = regions / np.where(most > 0, most, 1).reshape(-1, *[1] * (regions.ndim - 1))
        in_rows = tiles.ndim == 4
        columns = tiles.shape[1] if in_rows else int(np.ceil(len(tiles) ** 0.5))
        picture = mosaic(tiles.reshape(-1, *tiles.shape[-2:]), columns, fill=-1)
        ax = new_axes(picture) if ax is None else ax
        ax.imshow(picture, **{"cmap": "gray", "vmin": -1, "vmax": 1, "interpolation": "nearest", **kwargs})
        label_rows(ax, self.names if in_rows else None, tiles.shape[-2])
        self.ax_, self.figure_ = ax, ax.figure
        return self
