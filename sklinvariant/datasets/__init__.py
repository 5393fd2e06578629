"""Example images and bags, and pairs of consecutive video frames."""

from sklinvariant.datasets._camera import make_camera_clips
from sklinvariant.datasets._fetched import fetch_cifar10, fetch_fashion_mnist
from sklinvariant.datasets._file_blocks import read_blocks
from sklinvariant.datasets._images import load_digits_images, load_image_folder, load_npz
from sklinvariant.datasets._synthetic import make_checkers, make_concentric
from sklinvariant.datasets._textures import make_textures
from sklinvariant.datasets._video_pairs import VideoPairs, frame_pairs

__all__ = [
    "VideoPairs",
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "frame_pairs",
    "load_digits_images",
    "load_image_folder",
    "load_npz",
    "make_camera_clips",
    "make_checkers",
    "make_concentric",
    "make_textures",
    "read_blocks",
]
