"""Images: reading, checking, sizes, and the base of estimators of images."""

from sklinvariant.images._image_estimator import ImageEstimator, ImageTransformer
from sklinvariant.images._image_size import image_size
from sklinvariant.images._image_stream import ImageStream
from sklinvariant.images._pixels import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    check_axes,
    check_pixels,
    check_range,
    fit_into,
    image_array,
    list_of_images,
    max_pixels,
    need_extra,
    range_of,
    read_image,
    refuse_one_image,
    scale_pixels,
    stack_images,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageEstimator",
    "ImageStream",
    "ImageTransformer",
    "check_axes",
    "check_pixels",
    "check_range",
    "fit_into",
    "image_array",
    "image_size",
    "list_of_images",
    "max_pixels",
    "need_extra",
    "range_of",
    "read_image",
    "refuse_one_image",
    "scale_pixels",
    "stack_images",
]
