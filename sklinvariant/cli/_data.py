"""The images that the option ``--data`` names."""

import os
from typing import Any

from sklinvariant.cli._outputs import warnings_as_lines


def load_data(name: str) -> Any:
    """The images of a dataset, a folder or a file, with a class for each."""
    from sklinvariant import datasets

    loaders = {
        "digits": datasets.load_digits_images,
        "fashion-mnist": datasets.fetch_fashion_mnist,
        "cifar10": datasets.fetch_cifar10,
    }
    if name in loaders:
        return loaders[name]()
    if os.path.isdir(name):
        with warnings_as_lines():
            return datasets.load_image_folder(name)
    if os.path.exists(name):
        return datasets.load_npz(name)
    raise FileNotFoundError(
        f"--data {name}: no such file or folder. Pass a file, a folder or one of {', '.join(loaders)}"
    )
