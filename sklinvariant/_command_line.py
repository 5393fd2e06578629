"""The command line: its words, its exit status, and errors as one line."""

import argparse
import sys
from pathlib import Path

from sklinvariant import _demo, _demo_cluster, _demo_pool, _demo_retrieve, _demo_tour


def main(argv=None):
    """Run the command line; the exit status."""
    arguments = _parse(argv)
    for stream in (sys.stdout, sys.stderr):  # names of files may be in no encoding, or not in this terminal's
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return arguments.run(arguments)
    except (OSError, ValueError, ImportError) as error:
        print(f"sklinvariant: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sklinvariant: interrupted", file=sys.stderr)
        return 130


def _parse(argv):
    parser = argparse.ArgumentParser(prog="python -m sklinvariant", description="Learned invariance, at work.")
    _demo_tour.add_arguments(parser)
    commands = parser.add_subparsers(metavar="command")
    _demo_tour.add_arguments(commands.add_parser("tour", help="every family on scikit-learn's digits (the default)"))
    _demo.add_arguments(commands.add_parser("aggregation", help="bags of local features to vectors"))
    _demo_retrieve.add_arguments(commands.add_parser("retrieve", help="rotated images found again by short codes"))
    _demo_pool.add_arguments(commands.add_parser("pool", help="features that belong together, learned from video"))
    _demo_cluster.add_arguments(commands.add_parser("cluster", help="photographs sorted by what they show, unlabelled"))
    _add_index(commands.add_parser("index", help="index a folder of photographs, to find the same object again"))
    _add_query(commands.add_parser("query", help="find photographs of an index that show what an image shows"))
    return parser.parse_args(argv)


def _add_index(parser):
    parser.set_defaults(run=_index)
    parser.add_argument("photos", help="a folder; pictures in its sub-folders are taken too")
    parser.add_argument("--out", required=True, help="folder of the index; an interrupted run goes on there")
    parser.add_argument("--bits", type=int, default=128, help="length of the codes (default: 128)")
    parser.add_argument("--weights", help="SqueezeNet 1.1 as .npz, .safetensors or state dict; finds more than without")
    parser.add_argument(
        "--image-size", type=int, default=128, help="pixels that photographs are seen at (default: 128)"
    )
    parser.add_argument("--rotations", type=int, default=12, help="views around the circle (default: 12)")
    parser.add_argument("--scales", type=int, default=3, help="views from half to whole size (default: 3)")
    parser.add_argument("--seed", type=int, default=0)


def _add_query(parser):
    parser.set_defaults(run=_query)
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("images", nargs="+", metavar="image")
    parser.add_argument("--neighbors", type=int, default=8, help="photographs shown for each image (default: 8)")
    parser.add_argument("--html", help="write a page that shows them")


def _index(arguments):
    from sklinvariant._photo_index import make_index

    _check_positive(arguments, "bits", "rotations", "scales")
    if arguments.image_size < 16:
        raise ValueError(f"--image-size must be at least 16, got {arguments.image_size}")
    count, skipped = make_index(
        arguments.photos,
        arguments.out,
        n_bits=arguments.bits,
        weights=arguments.weights,
        image_size=arguments.image_size,
        n_rotations=arguments.rotations,
        n_scales=arguments.scales,
        seed=arguments.seed,
    )
    print(f"{count} photographs indexed by {arguments.bits} bits in {arguments.out}")
    _list_failures("skipped", skipped)
    return 0


def _query(arguments):
    from sklinvariant._photo_index import query_index, read_settings
    from sklinvariant._report import write_report

    _check_positive(arguments, "neighbors")
    if arguments.html:
        _demo.check_folder("--html", arguments.html)
    found, failed = query_index(arguments.index, arguments.images, n_neighbors=arguments.neighbors)
    for image, neighbors in found.items():
        print(image)
        for distance, file in neighbors:
            print(f"  {distance:4d}  {file}")
    _list_failures("not read", failed)
    if arguments.html:
        write_report(arguments.html, found, failed, n_bits=read_settings(Path(arguments.index))["n_bits"])
        print(f"page: {arguments.html}")
    return 0 if found else 1


def _list_failures(what, failures):
    if failures:
        print(f"{what}: {len(failures)}", file=sys.stderr)
        for file, reason in failures:
            print(f"  {file}: {reason}", file=sys.stderr)


def _check_positive(arguments, *names):
    for name in names:
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}")
