"""The command line: arguments, exit status, and errors reported as one line."""

import argparse
import os
import sys
from typing import Any

from sklinvariant.cli import _aggregation as _demo
from sklinvariant.cli import _cluster as _demo_cluster
from sklinvariant.cli import _pool as _demo_pool
from sklinvariant.cli import _retrieve as _demo_retrieve
from sklinvariant.cli import _stopping as _stopping
from sklinvariant.cli import _tour as _demo_tour
from sklinvariant.cli._outputs import PAGE, check_output, printable

_NOBODY_READS = 141  # the status that a shell reports for a program ended by SIGPIPE


def run() -> Any:
    """Run the command line as its own process. Signals and a closed pipe end it quietly. Return the exit status."""
    _stopping.listen()
    status: Any
    try:
        status = main()
    except SystemExit as end:  # argparse has printed its help or its error message
        status = end.code
    except KeyboardInterrupt:
        status = _stopping.report()
    except BrokenPipeError:
        status = _NOBODY_READS
    try:
        if sys.stdout is not None:  # stdout is None if it was closed with >&-
            sys.stdout.flush()
    except OSError as error:
        # Python flushes stdout again at exit and would report the error a second time
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status or _NOBODY_READS
        print(f"sklinvariant: standard output: {error}", file=sys.stderr)
        return status or 2
    return status


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Return the exit status."""
    arguments = _parse(argv)
    for stream in (sys.stdout, sys.stderr):  # file names may be undecodable, or not encodable in this terminal
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # no finished line is lost on a signal
    try:
        return arguments.run(arguments)
    except BrokenPipeError:  # for example, head has read enough
        return _NOBODY_READS
    except (OSError, ValueError, ImportError, ArithmeticError) as error:
        print(f"sklinvariant: {printable(error, keep=chr(10))}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"sklinvariant: not enough memory. {printable(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _stopping.report()


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m sklinvariant", description="Demonstrations of sklinvariant, and retrieval of photographs."
    )
    _demo_tour.add_arguments(parser)
    commands = parser.add_subparsers(metavar="command")
    _demo_tour.add_arguments(
        commands.add_parser(
            "tour", help="compare one method of each family with a baseline, on scikit-learn's digits (default)"
        )
    )
    _demo.add_arguments(commands.add_parser("aggregation", help="compare aggregation methods in a grid search"))
    _demo_retrieve.add_arguments(commands.add_parser("retrieve", help="retrieve rotated images with binary codes"))
    _demo_pool.add_arguments(commands.add_parser("pool", help="learn pooling of features from video"))
    _demo_cluster.add_arguments(commands.add_parser("cluster", help="cluster photographs without labels"))
    _add_index(commands.add_parser("index", help="index a folder of photographs for retrieval"))
    _add_query(commands.add_parser("query", help="find the photographs of an index that are most similar to an image"))
    return parser.parse_args(argv)


def _add_index(parser):
    parser.set_defaults(run=_index)
    parser.add_argument("photos", help="folder of images, including its sub-folders")
    parser.add_argument("--out", required=True, help="folder of the index; an interrupted run is resumed there")
    parser.add_argument("--bits", type=int, default=128, help="number of bits of a code (default: 128)")
    parser.add_argument(
        "--weights", help="weights of SqueezeNet 1.1 as .npz, .safetensors or state dict, for better results"
    )
    parser.add_argument(
        "--image-size", type=int, default=128, help="size in pixels to which photographs are resized (default: 128)"
    )
    parser.add_argument(
        "--rotations", type=int, default=12, help="number of rotations over the full circle (default: 12)"
    )
    parser.add_argument("--scales", type=int, default=3, help="number of scales from half to full size (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--follow-links", action="store_true", help="also follow links that lead out of the folder")
    parser.add_argument(
        "--fast", action="store_true", help="index no key points: a smaller index that finds fewer changed photographs"
    )


def _add_query(parser):
    parser.set_defaults(run=_query)
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("images", nargs="+", metavar="image", help="image files to search for")
    parser.add_argument("--neighbors", type=int, default=8, help="number of photographs found per image (default: 8)")
    parser.add_argument("--html", help="write an HTML page that shows the results")
    parser.add_argument("--fast", action="store_true", help="compare codes alone, without key points")
    _demo.add_force(parser)


def _index(arguments):
    from sklinvariant.cli._photo_index import LIMITS, make_index

    for name, (low, high) in LIMITS.items():
        given = getattr(arguments, name.removeprefix("n_"))
        if not low <= given <= high:
            option = name.removeprefix("n_").replace("_", "-")
            bound = f"at least {low}" if given < low else f"at most {high}"
            raise ValueError(f"--{option} must be {bound}, got {given}")
    with _demo.warnings_as_lines():
        count, skipped = make_index(
            arguments.photos,
            arguments.out,
            n_bits=arguments.bits,
            weights=arguments.weights,
            image_size=arguments.image_size,
            n_rotations=arguments.rotations,
            n_scales=arguments.scales,
            seed=arguments.seed,
            follow_links=arguments.follow_links,
            fast=arguments.fast,
        )
    print(f"{count} photographs indexed with {arguments.bits}-bit codes in {printable(arguments.out)}")
    _list_failures("skipped", skipped)
    return 0


def _query(arguments):
    from sklinvariant.cli._photo_index import query_index
    from sklinvariant.cli._report import write_report

    if arguments.neighbors < 1:
        raise ValueError(f"--neighbors must be at least 1, got {arguments.neighbors}")
    if arguments.html is not None:
        check_output("--html", arguments.html, PAGE, force=arguments.force)
    answer = query_index(arguments.index, arguments.images, n_neighbors=arguments.neighbors, fast=arguments.fast)
    if arguments.html is not None:  # write the page before printing, because the reader of the output may stop early
        write_report(arguments.html, answer)
    for image, neighbors in answer.found.items():
        print(printable(image))
        for distance, file in neighbors:
            count = answer.matches[image].get(file)
            print(f"  {distance:4d}  {printable(file)}{f'  ({count} key points match)' if count else ''}")
    _list_failures("could not be read", answer.failed)
    _list_failures("missing or changed since they were indexed", answer.changed.items())
    if arguments.html is not None:
        print(f"page saved to {printable(arguments.html)}")
    return 0 if answer.found else 1


def _list_failures(what, failures):
    if failures:
        print(f"{what}: {len(failures)}", file=sys.stderr)
        for file, reason in failures:
            print(f"  {printable(file)}: {printable(reason)}", file=sys.stderr)
