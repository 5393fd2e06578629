"""Images and bags to try things on."""

from sklinvariant.datasets._fetched import fetch_cifar10, fetch_fashion_mnist
from sklinvariant.datasets._images import load_digits_images, load_image_folder, load_npz
from sklinvariant.datasets._synthetic import make_checkers, make_concentric

__all__ = [
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "load_digits_images",
    "load_image_folder",
    "load_npz",
    "make_checkers",
    "make_concentric",
]
