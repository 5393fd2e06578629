"""Transformations of images that can be sampled, enumerated, applied, inverted and composed."""

from sklinvariant.transforms._affine import Crop, Flip, Rotation, Scale, Shear, Translation
from sklinvariant.transforms._color_jitter import ColorJitter
from sklinvariant.transforms._compose import Compose, moves
from sklinvariant.transforms._gaussian_noise import GaussianNoise
from sklinvariant.transforms._geometric import Geometric, pixel_matrix, warp
from sklinvariant.transforms._library_transforms import apply_library, library_of
from sklinvariant.transforms._sobel import Sobel
from sklinvariant.transforms._transform import Transform

__all__ = [
    "ColorJitter",
    "Compose",
    "Crop",
    "Flip",
    "GaussianNoise",
    "Geometric",
    "Rotation",
    "Scale",
    "Shear",
    "Sobel",
    "Transform",
    "Translation",
    "apply_library",
    "library_of",
    "moves",
    "pixel_matrix",
    "warp",
]
