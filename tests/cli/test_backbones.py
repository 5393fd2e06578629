"""The command ``backbones``: a line for each library, and a JSON document."""

import json

from sklinvariant.cli._command_line import main
from sklinvariant.feature_extraction import list_backbones


def test_all_sources_are_listed(capsys):
    assert main(["backbones"]) == 0
    printed = capsys.readouterr().out
    assert "ConvolutionalFeatures: learned from your images" in printed
    for source in list_backbones():
        assert f"\n{source.module:18}{source.library}" in printed


def test_the_document(capsys):
    assert main(["backbones", "--json", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["backbones"] == [source._asdict() for source in list_backbones()]
