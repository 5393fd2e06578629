"""The command ``index``: an index of a folder of photographs, for ``query``."""

from argparse import ArgumentParser, Namespace

from sklinvariant.cli._options import (
    Outcome,
    add_device,
    add_path,
    add_photos,
    add_seed,
    shows_progress,
)
from sklinvariant.cli._outputs import as_rows, print_failures, printable, warnings_as_lines


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``index``."""
    add_photos(parser, help="folder of images, including its sub-folders")
    add_path(
        parser,
        "--output",
        kind="folder",
        required=True,
        help="folder of the index; an interrupted run is resumed there",
    )
    parser.add_argument("--bits", type=int, default=128, help="number of bits of a code (default: 128)")
    parser.add_argument(
        "--rotations", type=int, help="number of rotations over the full circle (default: 12, with --fast 4)"
    )
    parser.add_argument(
        "--scales", type=int, help="number of scales from half to full size (default: 3, with --fast 1)"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="half of the key points and fewer views: a smaller index that is made and searched several times as fast, "
        "and finds slightly fewer changed photographs",
    )
    add_seed(parser)
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Create or update the index, and list the files that cannot be read."""
    from sklinvariant.cli._photo_index import make_index
    from sklinvariant.cli._photos import check_weights

    _check_limits(arguments)
    check_weights(arguments.weights)
    with warnings_as_lines():
        count, skipped = make_index(
            arguments.photos,
            arguments.output,
            n_bits=arguments.bits,
            weights=arguments.weights,
            image_size=arguments.image_size,
            n_rotations=arguments.rotations,
            n_scales=arguments.scales,
            seed=arguments.seed,
            follow_links=arguments.follow_links,
            fast=arguments.fast,
            device=arguments.device,
            show=shows_progress(arguments),
        )
    print(f"{count} photographs indexed with {arguments.bits}-bit codes in {printable(arguments.output)}")
    print_failures("skipped", skipped)
    return Outcome(
        {"index": arguments.output, "photographs": count, "bits": arguments.bits, "skipped": as_rows(skipped)}
    )


def _check_limits(arguments):
    from sklinvariant.cli._photo_index import LIMITS

    for name, (low, high) in LIMITS.items():
        given = getattr(arguments, name.removeprefix("n_"))
        if given is not None and not low <= given <= high:
            option = name.removeprefix("n_").replace("_", "-")
            bound = f"at least {low}" if given < low else f"at most {high}"
            raise ValueError(f"--{option} must be {bound}, got {given}")
