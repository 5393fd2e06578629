"""Functions that all benchmarks use: medians of alternating repetitions, tables, and results as JSON."""

import importlib.metadata
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch

import sklinvariant

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "skorch", "scikit-image", "faiss-cpu", "kornia")
WORDS = ("device", "large", "layer", "methods", "part")  # arguments whose text is a setting; other text names files


def medians(repeats, **functions):
    """Median seconds of each function. They alternate, so that a slow phase of the machine affects all of them."""
    seconds = {name: [] for name in functions}
    for round in range(repeats + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round:  # the first repetition is a warm-up
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(header, rows):
    """Format a Markdown table."""
    lines = ["".join(f"| {cell} " if str(cell) else "| " for cell in line) + "|" for line in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def add_json(parser):
    """Add ``--json FOLDER`` to the options of a script."""
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="also write each table to FOLDER/NAME.json")


def report(name, columns, rows, args, **more):
    """Print a table, and record it if the script was called with ``--json``."""
    print(table(columns, rows), flush=True)
    record(name, columns, rows, args, **more)


def record(name, columns, rows, args, **more):
    """Write a table to NAME.json in the folder ``args.json``, with the settings, the threads and the versions.

    Neither paths nor the name of the machine are written. ``more`` is written as well.
    """
    if args.json is None:
        return
    result = {
        "name": name,
        "columns": list(columns),
        "rows": [[str(cell) for cell in row] for row in rows],
        "settings": settings(args),
        "machine": machine(args),
        **more,
    }
    write(args.json, result)


def write(folder, result):
    """Format a result as JSON, with one row of the table per line, and likewise of other lists of lists."""
    lists = {name: rows for name, rows in result.items() if isinstance(rows, list) and rows and _is_rows(rows)}
    text = json.dumps(result | {name: f"ROWS OF {name}" for name in lists}, ensure_ascii=False, indent=2)
    for name, rows in lists.items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        text = text.replace(f'"ROWS OF {name}"', "[\n    " + ",\n    ".join(lines) + "\n  ]")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result['name']}.json").write_text(text + "\n", encoding="utf-8")


def _is_rows(values):
    return all(isinstance(value, list) for value in values)


def settings(args):
    """The arguments of a script, without the names of the files that it reads and writes."""
    return {name: value for name, value in vars(args).items() if _is_number(value) or name in WORDS}


def _is_number(value):
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(one, int | float) for one in values)


def machine(args):
    """Number of cores, threads of torch, the GPU if one is used, and versions of packages."""
    found = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    device = str(getattr(args, "device", None) or "cpu")
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    versions = {"sklinvariant": sklinvariant.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"versions": versions}
