"""Sobel derivatives, which replace colours by edges."""

import torch
from torch.nn.functional import conv2d, pad

from sklinvariant.images import scale_pixels
from sklinvariant.transforms._transform import Transform

_ACROSS = [[-0.125, 0.0, 0.125], [-0.25, 0.0, 0.25], [-0.125, 0.0, 0.125]]


class Sobel(Transform):
    """Replace each channel by its horizontal and vertical derivatives: c channels become 2 c.

    It has no parameters, so its orbit has one element. It removes colours; invariant clustering applies it after the
    changes of colour. Derivatives are per pixel; borders are replicated.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.transforms import Sobel
    >>> ramp = np.tile(np.arange(4.0), (1, 3, 1))
    >>> Sobel()(ramp)[0, 1]
    array([[0.5, 0. ],
           [1. , 0. ],
           [1. , 0. ],
           [0.5, 0. ]])
    """

    _default_orbit = 1

    def _bounds(self):
        return torch.empty(0, 2, dtype=torch.float64)

    def _apply(self, images, params, size=None):
        images = scale_pixels(images)
        n, c, h, w = images.shape
        across = images.new_tensor(_ACROSS)
        filters = torch.stack([across, across.T])[:, None]
        edges = conv2d(pad(images.reshape(n * c, 1, h, w), (1, 1, 1, 1), mode="replicate"), filters)
        return edges.reshape(n, 2 * c, h, w)
