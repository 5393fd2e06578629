"""All patches of an image on a regular grid, as its bag of local descriptors."""

from __future__ import annotations

from dataclasses import KW_ONLY
from numbers import Integral
from typing import Any, Literal

import torch
from sklearn.utils import Tags
from torch import nn

from sklinvariant.bags import DescriptorSets
from sklinvariant.base import Count, declared, is_count
from sklinvariant.images import ImageReader, ImageTransformer, channels_first, scale_pixels, stack_images
from sklinvariant.ops import unit_length

_VALUES = 1 << 24  # numbers processed at a time
_FLAT = 0.01  # added to the standard deviation of pixels 0-1, so that noise in flat patches is not amplified


def window_of(size: Any, images: torch.Tensor, which: str = "the images") -> tuple[int, int]:
    """The (height, width) of patches of images (n, h, w, c), from the parameter ``patch_size``."""
    window = (size, size) if isinstance(size, Integral) else tuple(size)
    if len(window) != 2 or not all(map(is_count, window)):
        raise ValueError(f"patch_size={size!r} is not valid. Pass a positive integer, or (height, width).")
    height, width = images.shape[1:3]
    if window[0] > height or window[1] > width:
        look_like_pairs = height == 2 and images.shape[3] > 4
        advice = (
            "For pairs (n, 2, h, w), pass the frames, X.reshape(-1, h, w)" if look_like_pairs else "Lower patch_size"
        )
        raise ValueError(f"patch_size={size} is larger than {which}, {height} x {width} pixels. {advice}.")
    return window


def patches_of(images: torch.Tensor, window: tuple[int, int], stride: int) -> torch.Tensor:
    """A copy of the (height, width) windows of images (n, h, w, c): (n, m, height · width · c)."""
    patches = images.unfold(1, window[0], stride).unfold(2, window[1], stride)  # (n, i, j, c, height, width)
    patches = patches.permute(0, 1, 2, 4, 5, 3).clone(memory_format=torch.contiguous_format)
    return patches.flatten(3).flatten(1, 2)


def normalize_patches(patches: torch.Tensor, how: str | None, flat: float = _FLAT) -> torch.Tensor:
    """Normalise patches in place: to mean 0 and about unit deviation ("contrast"), or to unit length ("l2").

    For "contrast", ``flat`` is added to the standard deviation.
    """
    if how == "contrast":
        patches -= patches.mean(-1, keepdim=True)
        patches /= patches.std(-1, keepdim=True, unbiased=False) + flat
    elif how == "l2":
        unit_length(patches, out=patches)
    return patches


class Patches(nn.Module):
    """The normalised patches (n, m, p) of images (n, h, w, c)."""

    def __init__(self, patch_size: Any, stride: int, normalize: str | None) -> None:
        super().__init__()
        self.patch_size, self.stride, self.normalize = patch_size, stride, normalize

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = scale_pixels(channels_first(images).permute(0, 2, 3, 1))
        patches = patches_of(images, window_of(self.patch_size, images), self.stride)
        return normalize_patches(patches, self.normalize)


@declared
class DensePatches(ImageTransformer):
    """Convert images to bags of patches: the raw pixels of a sliding window.

    An image (h, w, c) gives ``(1 + (h - patch_size) // stride) * (1 + (w - patch_size) // stride)`` descriptors of
    ``patch_size**2 * c`` features, the pixels of a patch row by row. Images that differ in size have different numbers
    of descriptors. float64 images give float64, all others float32.

    Parameters
    ----------
    patch_size : int or (int, int)
        Height and width of a patch in pixels, at most those of the images.
    stride : int
        Distance between neighbouring patches in pixels. Larger strides give fewer descriptors.
    normalize : {"contrast", "l2"} or None
        "contrast" subtracts the mean of a patch and divides by its standard deviation plus 0.01, which does not amplify
        noise in images 0-1 (Coates & Ng 2012); "l2" divides by the norm.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklinvariant.feature_extraction import DensePatches
    >>> DensePatches(4, stride=2).fit_transform(load_digits().images[:10])
    <DescriptorSets of 10 bags of 9 descriptors of 16 features, float64 on cpu>
    """

    patch_size: Count | tuple | list = 8
    _: KW_ONLY
    stride: Count = 2
    normalize: Literal["contrast", "l2"] | None = None
    image_shape: tuple | list | None = None

    _reader = ImageReader(any_size=True)

    def _prepare(self, given):
        images = given.data
        first, which = (images[0][None], "image 0") if isinstance(images, list) else (images, "the images")
        height, width = window_of(self.patch_size, first, which)
        return {"n_descriptor_features": height * width * first.shape[-1]}

    def _describe(self, given):
        """The patches of images of equal size in parts, otherwise image by image."""
        images = given.data
        if isinstance(images, list) and len({image.shape for image in images}) == 1:
            images = stack_images(images)
        if isinstance(images, torch.Tensor):
            return DescriptorSets.from_bags(self._patches(images))
        bags = (self._patches(image[None], f"image {i}")[0] for i, image in enumerate(images))
        return DescriptorSets.from_bags([bag.to(given.dtype) for bag in bags])

    def _patches(self, images, which="the images"):
        """The normalised patches (n, m, p) of images (n, h, w, c)."""
        window, patches = window_of(self.patch_size, images, which), None
        step = max(1, _VALUES // patches_of(images[:1], window, self.stride).numel())
        for start in range(0, len(images), step):  # in parts, so that Ctrl-C has an effect
            part = patches_of(scale_pixels(images[start : start + step]), window, self.stride)
            patches = part.new_empty(len(images), *part.shape[1:]) if patches is None else patches
            patches[start : start + step] = normalize_patches(part, self.normalize)
        return patches

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: Patches(self.patch_size, self.stride, self.normalize)}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
