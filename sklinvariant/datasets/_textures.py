"""Images composed of textures, with the texture of every pixel: data for segmentation with known ground truth."""

import numpy as np
from sklearn.utils import check_random_state

from sklinvariant.base import RandomState

_PIECES = 5  # regions in an image


def make_textures(
    n_images: int = 16, *, image_size: int = 64, n_textures: int = 4, random_state: RandomState = None
) -> tuple[np.ndarray, np.ndarray]:
    """Greyscale images of regions that differ only in texture: all have the same mean, variance and grey distribution.

    A texture is noise in one frequency band. The bands are horizontal, vertical or isotropic, and the scale doubles
    after every three textures. Mirroring does not change a texture; a rotation by 90 degrees may.

    Parameters
    ----------
    n_images : int, default=16
        Number of images.
    image_size : int, default=64
        Height and width in pixels, at least 16.
    n_textures : int, default=4
        Number of textures, from 2 to 9.
    random_state : int, RandomState or None, default=None
        Seed of the regions and the noise.

    Returns
    -------
    images : float32 array of shape (n_images, image_size, image_size)
        Values in [0, 1].
    masks : int64 array of shape (n_images, image_size, image_size)
        The texture of each pixel.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from sklinvariant.datasets import make_textures
    >>> images, masks = make_textures(2, image_size=32, random_state=0)
    >>> images.shape, masks.shape, int(masks.max()) < 4
    ((2, 32, 32), (2, 32, 32), True)
    """
    if n_images < 1 or image_size < 16:
        raise ValueError(
            f"n_images={n_images!r} and image_size={image_size!r} are out of range. n_images must be at least 1 and "
            "image_size at least 16."
        )
    if not 2 <= n_textures <= 9:
        raise ValueError(f"n_textures={n_textures!r} is out of range. Choose a number from 2 to 9.")
    rng = check_random_state(random_state)
    masks = np.stack([_regions(image_size, n_textures, rng) for _ in range(n_images)])
    images = np.zeros(masks.shape)
    for texture in range(n_textures):
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=masks.shape)) * _band(image_size, texture)).real
        noise /= noise.std()
        images = np.where(masks == texture, noise, images)
    return np.clip(0.5 + 0.18 * images, 0, 1).astype(np.float32), masks


def _regions(size, n_textures, rng):
    """(size, size) texture of each pixel: the texture of the nearest of a few random points."""
    points = rng.uniform(0, size, (_PIECES, 2))
    textures = np.resize(rng.permutation(n_textures), _PIECES)
    rows, columns = np.mgrid[:size, :size]
    places = np.stack([rows, columns], axis=-1) + 0.5
    distance = ((places[:, :, None] - points) ** 2).sum(-1)
    return textures[distance.argmin(-1)]


def _band(size, texture):
    """(size, size) gain of each frequency in a texture."""
    frequency = np.fft.fftfreq(size)
    down, across = np.meshgrid(frequency, frequency, indexing="ij")
    centre = (0.3, 0.15, 0.075)[texture // 3]
    radius, narrow = np.hypot(down, across), centre / 3
    if texture % 3 == 2:
        return np.exp(-((radius - centre) ** 2) / (2 * narrow**2))
    along, away = (across, down) if texture % 3 == 0 else (down, across)
    return np.exp(-((np.abs(along) - centre) ** 2 + away**2) / (2 * narrow**2))
