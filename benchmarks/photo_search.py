"""Search for changed photographs in an index: how often the original comes first.

    python benchmarks/photo_search.py PHOTOS [--distractors FOLDER ...] [--queries 50] [--split NAME]

PHOTOS is a folder of photographs; the evenly spaced ``--queries`` of them are changed and searched for in an index of
PHOTOS and of the folders of ``--distractors``. Settings were chosen on other photographs than the published ones.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import add_json, report
from photo_changes import CHANGES

from sklinvariant.cli._photo_index import make_index, query_index
from sklinvariant.images import IMAGE_SUFFIXES

METHODS = {"default": {}, "--fast": {"fast": True}}


def images_below(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def gather(folders, place):
    """Links to the images of all folders, below one folder."""
    for i, folder in enumerate(folders):
        for path in images_below(folder):
            link = place / str(i) / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())


def write_queries(files, change, place):
    """{changed file: name of its original}. Each photograph and change has random numbers of its own."""
    queries = {}
    for i, file in enumerate(files):
        query = place / f"{i}.png"
        cv2.imwrite(str(query), CHANGES[change](cv2.imread(str(file)), np.random.RandomState(i)))
        queries[str(query)] = file.name
    return queries


def megabytes(folder):
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def measure(photos, chosen, settings, place):
    """Number of originals found first by change; milliseconds to index and to query a photograph; size in MB."""
    index = place / "index"
    started = time.perf_counter()
    count, _ = make_index(photos, index, follow_links=True, show=False, **settings)
    indexing, querying, first = (time.perf_counter() - started) / count, 0, []
    for i, change in enumerate(CHANGES):
        folder = place / f"queries{i}"
        folder.mkdir()
        queries = write_queries(chosen, change, folder)
        started = time.perf_counter()
        found = query_index(index, list(queries)).found
        querying += time.perf_counter() - started
        first.append(sum(Path(found[query][0][1]).name == name for query, name in queries.items() if found.get(query)))
    return first, 1000 * indexing, 1000 * querying / len(CHANGES) / len(chosen), megabytes(index), count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--distractors", type=Path, nargs="*", default=[])
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--split", default="evaluation", help="evaluation or development; names the table")
    add_json(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    files = images_below(args.photos)
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(args.queries, len(files))).astype(int)]
    rows = []
    for name, settings in METHODS.items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "photos").mkdir()
            gather([args.photos, *args.distractors], place / "photos")
            first, indexing, querying, size, count = measure(place / "photos", chosen, settings, place)
        rows.append([name, *first, f"{indexing:.0f}", f"{querying:.0f}", f"{1000 * size / count:.1f}"])
    columns = [f"first of {len(chosen)}, among {count}", *CHANGES, "ms to index", "ms to query", "kB per photograph"]
    suffix = "" if args.split == "evaluation" else f"_{args.split}"
    report(f"photo_search{suffix}", columns, rows, args)


if __name__ == "__main__":
    main()
