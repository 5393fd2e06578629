"""The command ``query``: the photographs of an index that are most similar to an image."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from sklinvariant.cli._options import Outcome, add_device, add_output, add_path
from sklinvariant.cli._outputs import PAGE, as_rows, check_output, print_failures, printable


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``query``."""
    add_path(parser, "index", kind="folder", help="folder of the index")
    add_path(parser, "images", nargs="+", metavar="image", help="image files to search for, or folders of them")
    parser.add_argument("--neighbors", type=int, default=8, help="number of photographs found per image (default: 8)")
    parser.add_argument("--fast", action="store_true", help="compare half of the key points")
    add_output(parser, "HTML page that shows the results (default: none)", alias="--html")
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Print the nearest photographs of each image, and write the page."""
    from sklinvariant.cli._photo_index import query_index
    from sklinvariant.cli._report import write_report

    if arguments.neighbors < 1:
        raise ValueError(f"--neighbors must be at least 1, got {arguments.neighbors}")
    page = arguments.output
    if page is not None:
        check_output("--output", page, PAGE, force=arguments.force)
    answer = query_index(
        arguments.index,
        _files_of(arguments.images),
        n_neighbors=arguments.neighbors,
        fast=arguments.fast,
        device=arguments.device,
    )
    if page is not None:  # write the page before printing, because the reader of the output may stop early
        write_report(page, answer)
    for image, neighbors in answer.found.items():
        print(printable(image))
        last = None
        for distance, file in neighbors:
            count = answer.matches[image].get(file)
            if last and not count:
                print("  not confirmed by key points, only similar:")
            last = count
            print(f"  {distance:4d}  {printable(file)}{f'  ({count} key points match)' if count else ''}")
    print_failures("could not be read", answer.failed)
    print_failures("missing or changed since they were indexed", list(answer.changed.items()))
    if page is not None:
        print(f"page saved to {printable(page)}")
    return Outcome(_as_document(answer, page), status=0 if answer.found else 1)


def _files_of(paths):
    """The given files, and the images of the given folders."""
    from sklinvariant.cli._photos import list_images

    files = []
    for path in map(Path, paths):
        inside = [str(path / name) for name, _ in list_images(path)] if path.is_dir() else [str(path)]
        if not inside:
            raise ValueError(f"{path} is a folder without images. Pass image files, or folders of them")
        files += inside
    return files


def _as_document(answer, page):
    queries = []
    for image, found in answer.found.items():
        matches = answer.matches[image]
        neighbors = [{"distance": bits, "file": file, "matches": matches.get(file, 0)} for bits, file in found]
        queries.append({"image": image, "neighbors": neighbors})
    failed, changed = as_rows(answer.failed), as_rows(list(answer.changed.items()))
    return {"bits": answer.n_bits, "queries": queries, "failed": failed, "changed": changed, "page": page}
