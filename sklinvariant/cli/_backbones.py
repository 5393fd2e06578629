"""The command ``backbones``: what networks can be used on this machine, and what each gives."""

from argparse import ArgumentParser, Namespace

from sklinvariant.cli._options import Outcome

_OWN = "learned from your images; no library and no download is needed"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``backbones``: there are none."""


def run(arguments: Namespace) -> Outcome:
    """Print a line for each library."""
    from sklinvariant.feature_extraction import list_backbones

    sources = list_backbones()
    print(f"ConvolutionalFeatures: {_OWN}\n")
    print("module= of BackbonePatches (cells) and BackboneFeatures (vector), backbone= of NestedInvariancePooler:\n")
    for source in sources:
        state = f"{source.library} {source.version or ''}".rstrip() + f": {source.problem}" * bool(source.problem)
        print(f"{source.module:18}{state}")
        if not source.problem:
            print(f"{'':18}cells: {source.cells}; vector: {source.vector}; preprocessing: {source.preprocessing}")
    return Outcome({"backbones": [source._asdict() for source in sources]})
