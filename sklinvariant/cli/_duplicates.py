"""The command ``duplicates``: groups of photographs in a folder that are the same. Nothing is deleted."""

import warnings
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sklinvariant.cli._options import Outcome, add_output, add_path
from sklinvariant.cli._outputs import (
    DUPLICATES,
    PAGE,
    TABLE,
    as_rows,
    check_output,
    print_failures,
    printable,
    warnings_as_lines,
    write_table,
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``duplicates``."""
    add_path(parser, "photos", kind="folder", help="folder of images, including its sub-folders")
    add_output(
        parser,
        "HTML page to review the groups; a table of their photographs is written next to it as .csv",
        "duplicates.html",
    )
    parser.add_argument(
        "--similarity",
        type=float,
        default=0.6,
        help="0 to 1: raise it to separate photographs in quick succession (default: %(default)s)",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.3,
        help="smallest common area as a share of the larger photograph; lower it "
        "to find smaller crops (default: %(default)s)",
    )
    parser.add_argument(
        "--contrast",
        type=float,
        help="for documents, such as 8: how many times more two images may differ in one place than elsewhere "
        "(default: images are not compared in detail)",
    )
    parser.add_argument("--jobs", type=int, help="number of threads that read photographs (default: 1)")
    parser.add_argument("--follow-links", action="store_true", help="also follow links that lead out of the folder")


def run(arguments: Namespace) -> Outcome:
    """Print the groups, and write the page and the table."""
    from sklinvariant.cli._photos import check_still_there, list_images
    from sklinvariant.cli._report import write_duplicates

    _check_numbers(arguments)
    page = check_output("--output", arguments.output, PAGE, force=arguments.force)
    table = check_output("the table of --output", page.with_suffix(".csv"), TABLE, force=arguments.force)
    folder = Path(arguments.photos).resolve()
    with warnings_as_lines():
        files = [(name, size) for name, (size, _) in list_images(folder, follow_links=arguments.follow_links)]
    if not files:
        raise ValueError(f"{folder} contains no images. Pass a folder that contains some.")
    model = _fitted([str(folder / name) for name, _ in files], arguments)
    check_still_there(folder)
    groups = _groups(files, model.labels_)
    failed = [(files[row][0], reason) for row, reason in model.failed_]
    rows = ([name, group, size] for group, members in enumerate(groups) for name, size in members)
    write_table(table, rows, DUPLICATES)
    write_duplicates(page, folder, groups, failed)
    _print_groups(groups, len(files) - len(failed), page, table)
    print_failures("skipped", failed)
    named = [[{"file": name, "bytes": size} for name, size in members] for members in groups]
    written = {"page": str(page), "table": str(table)}
    return Outcome({"photos": str(folder), "groups": named, "skipped": as_rows(failed), **written})


def _check_numbers(arguments):
    for name in ("similarity", "overlap"):
        given = getattr(arguments, name)
        if not 0 <= given <= 1:
            raise ValueError(f"--{name} must be from 0 to 1, got {given}")
    if arguments.contrast is not None and not 0 < arguments.contrast < float("inf"):
        raise ValueError(f"--contrast must be a positive number, got {arguments.contrast}")
    if arguments.jobs == 0:
        raise ValueError("--jobs must be at least 1, or -1 for all cores, got 0")


def _fitted(names, arguments):
    from sklinvariant import DuplicateImages

    model = DuplicateImages(
        min_similarity=arguments.similarity,
        min_overlap=arguments.overlap,
        max_contrast=arguments.contrast,
        n_jobs=arguments.jobs,
    )
    with warnings.catch_warnings():  # the files that cannot be read are listed at the end
        warnings.filterwarnings("ignore", "DuplicateImages: .* were not read", UserWarning)
        return model.fit(names)


def _groups(files, labels):
    """(name, bytes) of the photographs of each group, the largest files first."""
    groups: list[list[tuple[str, int]]] = [[] for _ in range(max(labels.max() + 1, 0))]
    for file, label in zip(files, labels, strict=True):
        if label >= 0:
            groups[label].append(file)
    return [sorted(members, key=lambda file: -file[1]) for members in groups]


def _print_groups(groups, n_read, page, table):
    for group, members in enumerate(groups):
        print(f"group {group}")
        for name, size in members:
            print(f"  {size:>12,}  {printable(name)}")
    print(f"{sum(map(len, groups))} of {n_read} photographs are in {len(groups)} groups")
    print(f"page saved to {printable(page)}\ntable saved to {printable(table)}")
