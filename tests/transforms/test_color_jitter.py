"""ColorJitter against its four steps."""

import numpy as np

from sklinvariant.transforms import ColorJitter


def test_color_jitter_is_the_four_steps(images):
    """Against brightness, contrast, saturation and hue in sequence, by their usual formulas."""
    from skimage.color import rgb2yiq, yiq2rgb

    jitter = ColorJitter(clip=False)
    params = ColorJitter(0.5, 0.5, 0.5, 0.3, offset=0.2).sample(5, 0)
    weights = [0.299, 0.587, 0.114]
    for image, row, ours in zip(images, params.tolist(), jitter.apply(images, params), strict=True):
        brightness, contrast, saturation, hue, offset = row
        image = image * brightness + offset
        image = contrast * image + (1 - contrast) * (image @ weights).mean()
        image = saturation * image + (1 - saturation) * (image @ weights)[..., None]
        yiq, turn = rgb2yiq(image), 2 * np.pi * hue
        i, q = yiq[..., 1].copy(), yiq[..., 2].copy()
        yiq[..., 1], yiq[..., 2] = i * np.cos(turn) - q * np.sin(turn), i * np.sin(turn) + q * np.cos(turn)
        np.testing.assert_allclose(ours, yiq2rgb(yiq), atol=1e-6)


def test_color_jitter_of_grey(images):
    params = ColorJitter().sample(5, 0)
    grey = images[..., :1]
    colours = ColorJitter().apply(grey.repeat(3, -1), params)
    np.testing.assert_allclose(ColorJitter().apply(grey, params), colours[..., :1], atol=1e-6)
