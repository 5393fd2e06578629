"""The command line: its words, its exit status, and errors as one line."""

import argparse
import os
import sys

from sklinvariant.cli import _aggregation as _demo
from sklinvariant.cli import _cluster as _demo_cluster
from sklinvariant.cli import _pool as _demo_pool
from sklinvariant.cli import _retrieve as _demo_retrieve
from sklinvariant.cli import _stopping as _stopping
from sklinvariant.cli import _tour as _demo_tour
from sklinvariant.cli._outputs import PAGE, check_output, printable

_NOBODY_READS = 141  # as a shell reports a program that SIGPIPE ended


def run():
    """Run the command line as a process of its own, which signals and a closed pipe end quietly; the exit status."""
    _stopping.listen()
    try:
        status = main()
    except SystemExit as end:  # argparse has printed its help or its complaint
        status = end.code
    except KeyboardInterrupt:
        status = _stopping.report()
    except BrokenPipeError:
        status = _NOBODY_READS
    try:
        if sys.stdout is not None:  # as it is after >&-
            sys.stdout.flush()
    except OSError as error:
        # Python flushes once more when it exits, and would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return status or _NOBODY_READS
        print(f"sklinvariant: standard output: {error}", file=sys.stderr)
        return status or 2
    return status


def main(argv=None):
    """Run the command line; the exit status."""
    arguments = _parse(argv)
    for stream in (sys.stdout, sys.stderr):  # names of files may be in no encoding, or not in this terminal's
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # a signal loses no finished line
    try:
        return arguments.run(arguments)
    except BrokenPipeError:  # head, for example, has read enough
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
    parser.add_argument("--follow-links", action="store_true", help="index what links out of the folder lead to, too")


def _add_query(parser):
    parser.set_defaults(run=_query)
    parser.add_argument("index", help="folder of the index")
    parser.add_argument("images", nargs="+", metavar="image")
    parser.add_argument("--neighbors", type=int, default=8, help="photographs shown for each image (default: 8)")
    parser.add_argument("--html", help="write a page that shows them")
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
        )
    print(f"{count} photographs indexed by {arguments.bits} bits in {printable(arguments.out)}")
    _list_failures("skipped", skipped)
    return 0


def _query(arguments):
    from sklinvariant.cli._photo_index import query_index
    from sklinvariant.cli._report import write_report

    if arguments.neighbors < 1:
        raise ValueError(f"--neighbors must be at least 1, got {arguments.neighbors}")
    if arguments.html is not None:
        check_output("--html", arguments.html, PAGE, force=arguments.force)
    answer = query_index(arguments.index, arguments.images, n_neighbors=arguments.neighbors)
    if arguments.html is not None:  # before anything is printed: whoever reads that may stop
        write_report(arguments.html, answer.found, answer.failed, changed=answer.changed, n_bits=answer.n_bits)
    for image, neighbors in answer.found.items():
        print(printable(image))
        for distance, file in neighbors:
            print(f"  {distance:4d}  {printable(file)}")
    _list_failures("not read", answer.failed)
    _list_failures("not the photographs that were indexed", answer.changed.items())
    if arguments.html is not None:
        print(f"page: {printable(arguments.html)}")
    return 0 if answer.found else 1


def _list_failures(what, failures):
    if failures:
        print(f"{what}: {len(failures)}", file=sys.stderr)
        for file, reason in failures:
            print(f"  {printable(file)}: {printable(reason)}", file=sys.stderr)
