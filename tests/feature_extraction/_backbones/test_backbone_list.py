"""Libraries that are installed, missing and broken."""

import importlib.metadata
import sys

import pytest
import torch

from sklinvariant.feature_extraction import list_backbones
from sklinvariant.feature_extraction._backbones import _backbone_list


def _source(module):
    return next(source for source in list_backbones() if source.module == module)


def test_torch_is_there():
    source = _source("torch.nn.Module")
    assert source.version == importlib.metadata.version("torch")
    assert source.version.split("+")[0] == torch.__version__.split("+")[0]
    assert source.problem == ""


def test_missing_and_broken_libraries(monkeypatch):
    def version(package):
        if package == "timm":
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.2"

    monkeypatch.setattr(_backbone_list, "version", version)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert _source("timm:NAME")[2:4] == (None, "not installed")
    assert _source("open_clip:NAME").version == "1.2"
    assert _source("open_clip:NAME").problem.startswith("cannot be imported: import of open_clip halted")


@pytest.mark.parametrize("module", ["timm:NAME", "torchvision:NAME", "hf:NAME", "open_clip:NAME", ".onnx"])
def test_each_source_says_what_it_gives(module):
    source = _source(module)
    assert source.cells
    assert source.vector
    assert source.preprocessing
