"""Changes of brightness, contrast, saturation and hue, combined into one affine map of the colours."""

from __future__ import annotations

from dataclasses import KW_ONLY

import numpy as np
import torch

from sklinvariant.base import Finite, declared
from sklinvariant.images import scale_pixels
from sklinvariant.transforms._transform import Transform, bounds_of

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as scikit-image's rgb2yiq and OpenCV
_TO_YIQ = np.array([_GREY, (0.59590059, -0.27455667, -0.32134392), (0.21153661, -0.52273617, 0.31119955)])


def color_matrices(params: torch.Tensor) -> torch.Tensor:
    """(m, 3, 3) matrices of saturation followed by hue, which keep grey colours.

    Saturation s is s I + (1 - s) 1 gᵀ with the grey weights g; hue is a rotation of the plane (I, Q) of YIQ.
    """
    saturation, turn = params[:, 2, None, None], params[:, 3] * 2 * torch.pi
    grey = params.new_tensor(_GREY)
    mixed = saturation * torch.eye(3, dtype=params.dtype) + (1 - saturation) * grey.expand(3, 3)
    to_yiq = params.new_tensor(_TO_YIQ)
    spin = torch.zeros(len(params), 3, 3, dtype=params.dtype)
    spin[:, 0, 0] = 1
    spin[:, 1, 1] = spin[:, 2, 2] = turn.cos()
    spin[:, 1, 2] = -turn.sin()
    spin[:, 2, 1] = turn.sin()
    return torch.linalg.inv(to_yiq) @ spin @ to_yiq @ mixed


@declared
class ColorJitter(Transform):
    """Brightness, contrast, saturation, hue and an added value, in this order, as one affine map of the colours.

    Its parameters are one row (brightness, contrast, saturation, hue, offset) for each image. Brightness multiplies
    the values. Contrast scales values about the mean grey of the image, saturation about the grey of each pixel. Hue
    rotates colours about the grey axis of YIQ, in full turns. Offset is added after brightness. Saturation and hue do
    not change grey images.

    Parameters
    ----------
    brightness : float or (float, float)
        Range of the factors of the values: 1 ± this number (not below 0), or (low, high).
    contrast : float or (float, float)
        Range of the factors of the contrast, given in the same way.
    saturation : float or (float, float)
        Range of the factors of the saturation, given in the same way.
    hue : float or (float, float)
        Range of the rotation in full turns: ± this number, or (low, high). 0.5 gives the complementary colours.
    offset : float or (float, float)
        Range of the added value: ± this number, or (low, high). Images have the range 0-1.
    clip : bool
        Clip the result to 0-1, once at the end.

    Examples
    --------
    >>> import numpy as np
    >>> from sklinvariant.transforms import ColorJitter
    >>> red = np.zeros((1, 1, 1, 3)) + [1.0, 0.0, 0.0]
    >>> ColorJitter().apply(red, [0.5, 1, 1, 0, 0.25]).ravel()
    array([0.75, 0.25, 0.25])
    """

    brightness: Finite | tuple | list = 0.4
    contrast: Finite | tuple | list = 0.4
    saturation: Finite | tuple | list = 0.4
    hue: Finite | tuple | list = 0.1
    _: KW_ONLY
    offset: Finite | tuple | list = 0.0
    clip: bool = True

    def _bounds(self):
        factors = [
            bounds_of(name, getattr(self, name), around=1.0, lowest=0)
            for name in ("brightness", "contrast", "saturation")
        ]
        shifts = [bounds_of(name, getattr(self, name)) for name in ("hue", "offset")]
        return torch.tensor([*factors, *shifts], dtype=torch.float64)

    def _apply(self, images, params, size=None):
        images = scale_pixels(images)
        n, c, h, w = images.shape
        if c not in (1, 3):
            raise ValueError(
                f"ColorJitter needs grey or RGB images with 1 or 3 channels, got {c} channels. Select the colour "
                "channels"
            )
        brightness, contrast, offset = (params[:, i].to(images)[:, None, None, None] for i in (0, 1, 4))
        weights = images.new_tensor(_GREY if c == 3 else [1.0])
        mean = torch.einsum("nc,c->n", images.mean((2, 3)), weights)[:, None, None, None] * brightness + offset
        shift = contrast * offset + (1 - contrast) * mean
        if c == 1:
            result = images * (contrast * brightness) + shift
        else:
            matrices = color_matrices(params).to(images) * (contrast * brightness)[..., 0]
            result = matrices.expand(n, 3, 3) @ images.reshape(n, 3, h * w) + shift[..., 0]
            result = result.reshape(n, 3, h, w)
        return result.clamp_(0, 1) if self.clip else result
