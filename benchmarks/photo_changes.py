"""What photographs go through: changes of an image (h, w, 3) of uint8, for the benchmarks of photo search."""

import cv2
import numpy as np


def rotated(image, angle, expand=False):
    """Rotate by an angle in degrees: expanded on black, or cropped to the central 66 % of each side."""
    h, w = image.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2 - 0.5, h / 2 - 0.5), angle, 1)
    cos, sin = abs(turn[0, :2])
    size = (round(h * sin + w * cos), round(h * cos + w * sin)) if expand else (round(0.66 * w), round(0.66 * h))
    turn[:, 2] += np.array(size) / 2 - (w / 2, h / 2)
    return cv2.warpAffine(image, turn, size, flags=cv2.INTER_LINEAR)


def cropped(image, share, rng):
    """A random part with this share of each side."""
    size = [round(share * length) for length in image.shape[:2]]
    top, left = (rng.randint(length - part + 1) for length, part in zip(image.shape[:2], size, strict=True))
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def resized(image, share):
    return cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def recompressed(image, quality):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def recoloured(image, rng):
    """Change contrast and brightness by up to 30 %, gamma by up to 1.5, and the weight of each channel by 20 %."""
    values = (image / 255.0) ** (1.5 ** rng.uniform(-1, 1))
    values = (values - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.15, 0.15)
    return np.round(255 * np.clip(values * rng.uniform(0.8, 1.2, 3), 0, 1)).astype(np.uint8)


def mirrored(image):
    return np.ascontiguousarray(image[:, ::-1])


def turned(image):
    return np.ascontiguousarray(np.rot90(image))


CHANGES = {
    "90°": lambda image, rng: turned(image),
    "33°, cropped to 66 %": lambda image, rng: rotated(image, 33),
    "33°, expanded on black": lambda image, rng: rotated(image, 33, expand=True),
    "crop of 70 %": lambda image, rng: cropped(image, 0.7, rng),
    "mirrored": lambda image, rng: mirrored(image),
    "resized to 40 %": lambda image, rng: resized(image, 0.4),
    "JPEG of quality 15": lambda image, rng: recompressed(image, 15),
    "colours": recoloured,
    "all of these": lambda image, rng: recompressed(
        resized(recoloured(mirrored(rotated(cropped(image, 0.9, rng), 33)), rng), 0.8), 40
    ),
}
