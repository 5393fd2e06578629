"""Pictures pieced together from textures, with the texture of every pixel: something to segment with known truth."""

import numpy as np
from sklearn.utils import check_random_state

_PIECES = 5  # regions of a picture


def make_textures(n_images=16, *, size=64, n_textures=4, random_state=None):
    """Grey pictures of regions that differ in texture alone: all have the same mean, spread and distribution of greys.

    A texture is noise of one band of frequencies: in all directions, across or down, at scales that double after
    every three. Mirror images of a texture are the same texture; turned by 90 degrees it may be another.

    Parameters
    ----------
    n_images : int, default=16
        Pictures.
    size : int, default=64
        Height and width in pixels, at least 16.
    n_textures : int, default=4
        Textures, from 2 to 9.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    images : float32 array of shape (n_images, size, size)
        In 0-1.
    masks : int64 array of shape (n_images, size, size)
        The texture of each pixel.

    Raises
    ------
    ValueError
        Where a number is out of range.

    Examples
    --------
    >>> from sklinvariant.datasets import make_textures
    >>> images, masks = make_textures(2, size=32, random_state=0)
    >>> images.shape, masks.shape, int(masks.max()) < 4
    ((2, 32, 32), (2, 32, 32), True)
    """
    if n_images < 1 or size < 16:
        raise ValueError(f"n_images must be at least 1 and size at least 16, got {n_images!r} and {size!r}")
    if not 2 <= n_textures <= 9:
        raise ValueError(f"n_textures must be from 2 to 9, got {n_textures!r}")
    rng = check_random_state(random_state)
    masks = np.stack([_regions(size, n_textures, rng) for _ in range(n_images)])
    images = np.zeros(masks.shape)
    for texture in range(n_textures):
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=masks.shape)) * _band(size, texture)).real
        noise /= noise.std()
        images = np.where(masks == texture, noise, images)
    return np.clip(0.5 + 0.18 * images, 0, 1).astype(np.float32), masks


def _regions(size, n_textures, rng):
    """(size, size) texture of each pixel: that of the nearest of a few points."""
    points = rng.uniform(0, size, (_PIECES, 2))
    textures = np.resize(rng.permutation(n_textures), _PIECES)
    places = np.stack(np.mgrid[:size, :size], axis=-1) + 0.5
    distance = ((places[:, :, None] - points) ** 2).sum(-1)
    return textures[distance.argmin(-1)]


def _band(size, texture):
    """(size, size) how much of each frequency a texture has."""
    frequency = np.fft.fftfreq(size)
    down, across = np.meshgrid(frequency, frequency, indexing="ij")
    centre = (0.3, 0.15, 0.075)[texture // 3]
    radius, narrow = np.hypot(down, across), centre / 3
    if texture % 3 == 2:
        return np.exp(-((radius - centre) ** 2) / (2 * narrow**2))
    along, away = (across, down) if texture % 3 == 0 else (down, across)
    return np.exp(-((np.abs(along) - centre) ** 2 + away**2) / (2 * narrow**2))
