"""Images: reading, checking, sizes, and the base of estimators of images."""

from sklinvariant.images._image_files import ImageFiles
from sklinvariant.images._image_reader import (
    ImageInput,
    ImageReader,
    WithImageSize,
    check_pixels,
    image_array,
    range_of,
)
from sklinvariant.images._image_stream import ImageStream, StreamReader
from sklinvariant.images._image_transformer import ImageTransformer
from sklinvariant.images._keypoints import NO_KEYPOINTS, Alignment, Keypoints, align, find_keypoints
from sklinvariant.images._pixels import (
    IMAGE_SUFFIXES,
    channels_first,
    read_image,
    scale_pixels,
    stack_images,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "NO_KEYPOINTS",
    "Alignment",
    "ImageFiles",
    "ImageInput",
    "ImageReader",
    "ImageStream",
    "ImageTransformer",
    "Keypoints",
    "StreamReader",
    "WithImageSize",
    "align",
    "channels_first",
    "check_pixels",
    "find_keypoints",
    "image_array",
    "range_of",
    "read_image",
    "scale_pixels",
    "stack_images",
]
