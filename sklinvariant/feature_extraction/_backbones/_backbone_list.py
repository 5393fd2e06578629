"""What backbones can be used on this machine."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple


class BackboneSource(NamedTuple):
    """A library, or a kind of file, that gives backbones.

    ``version`` is None if the library is not installed; ``problem`` is the reason why it cannot be used, or "".
    """

    module: str
    library: str
    version: str | None
    problem: str
    cells: str
    vector: str
    preprocessing: str


_OF_THE_MODEL = "size, mean and std of the model"
# module=, package, module to import, cells of BackbonePatches, vector of BackboneFeatures, preprocessing
_SOURCES = (
    (
        "torch.nn.Module",
        "torch",
        "torch",
        "output, or any layer",
        "output, class token or mean of cells",
        "as you set it",
    ),
    (".pt2, .ts, .pt", "torch", "torch", "output", "output, class token or mean of cells", "size of the input"),
    (".onnx", "onnxruntime", "onnxruntime", "first output, or any", "output or mean of cells", "size of the input"),
    ("timm:NAME", "timm", "timm", "forward_features", "features before the classifier", _OF_THE_MODEL),
    ("torchvision:NAME", "torchvision", "torchvision", "last map", "features before the classifier", _OF_THE_MODEL),
    ("hf:NAME", "transformers", "transformers", "last hidden state", "class token, or pooled output", _OF_THE_MODEL),
    ("open_clip:NAME", "open_clip_torch", "open_clip", "patches of the image tower", "embedding", _OF_THE_MODEL),
)


def list_backbones() -> list[BackboneSource]:
    """The libraries and files that `BackbonePatches` and `BackboneFeatures` accept, and whether they can be used here.

    Libraries are imported, which takes some seconds.

    Returns
    -------
    list of BackboneSource
        Named tuples with ``module`` (what to pass), ``library``, its ``version`` (None if it is not installed),
        ``problem`` (why it cannot be used, or ""), and what it gives: ``cells``, ``vector`` and ``preprocessing``.

    Examples
    --------
    >>> from sklinvariant.feature_extraction import list_backbones
    >>> [source.module for source in list_backbones() if source.library == "torch"]
    ['torch.nn.Module', '.pt2, .ts, .pt']
    """
    return [
        BackboneSource(module, package, *_state_of(package, name), *gives) for module, package, name, *gives in _SOURCES
    ]


def _state_of(package, name):
    """(version or None, problem) of a package."""
    try:
        number = version(package)
    except PackageNotFoundError:
        return None, "not installed"
    try:
        importlib.import_module(name)
    except Exception as error:  # a torchvision for another torch raises a RuntimeError
        return number, f"cannot be imported: {str(error).strip().partition(chr(10))[0]}"
    return number, ""
