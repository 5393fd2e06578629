"""Options that commands share, and what a command returns."""

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """What a command returns: the document that ``--json`` prints, and the exit status."""

    document: dict[str, Any]
    status: int = 0


def add_common(parser: ArgumentParser) -> None:
    """Add the options of every command."""
    parser.add_argument("--json", action="store_true", help="print the results as one JSON document")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors, and the document of --json")


def add_device(parser: ArgumentParser) -> None:
    """Add the device of a command that computes."""
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda or another device of torch (default: cuda if available, else cpu)"
    )


def add_seed(parser: ArgumentParser) -> None:
    """Add the random seed."""
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")


def add_output(parser: ArgumentParser, what: str, default: str | None = None, *, alias: str | None = None) -> None:
    """Add the file that a command writes, and ``--force``. ``alias`` is an earlier name of the option."""
    suffix = f" (default: {default})" if default else ""
    add_path(parser, "--output", default=default, help=f"{what}{suffix}")
    if alias:
        parser.add_argument(alias, dest="output", default=SUPPRESS, help=SUPPRESS)
    parser.add_argument("--force", action="store_true", help="overwrite existing files that sklinvariant did not write")


def add_data(parser: ArgumentParser, max_images: int) -> None:
    """Add the dataset of a command, see `load_data`."""
    add_path(
        parser,
        "--data",
        default="digits",
        help="digits (default), fashion-mnist, cifar10, an .npz file, or a folder with one sub-folder per class",
    )
    parser.add_argument(
        "--max-images", type=int, default=max_images, help="number of images used (default: %(default)s)"
    )


def add_photos(parser: ArgumentParser, **settings: Any) -> None:
    """Add a folder of photographs, and how their features are computed."""
    add_path(parser, "photos", kind="folder", **settings)
    add_path(
        parser,
        "--weights",
        help="weights of SqueezeNet 1.1 as .npz, .safetensors or state dict; other networks are not accepted",
    )
    parser.add_argument(
        "--image-size", type=int, default=128, help="size in pixels to which photographs are resized (default: 128)"
    )
    parser.add_argument("--follow-links", action="store_true", help="also follow links that lead out of the folder")


def add_path(parser: ArgumentParser, name: str, *, kind: str = "file", **settings: Any) -> None:
    """Add an argument that is a path, which shells can complete."""
    parser.add_argument(name, **settings).path = kind  # type: ignore[attr-defined]


def shows_progress(arguments: Namespace) -> bool:
    """Whether progress bars are shown: on a terminal alone, and not with ``--quiet``."""
    return sys.stderr is not None and sys.stderr.isatty() and not arguments.quiet
