"""The command ``tour``: one method of each family on scikit-learn's digits, compared with a baseline."""

import sys
import time
import warnings
from argparse import ArgumentParser, Namespace

from sklinvariant.cli import _stopping as _stopping
from sklinvariant.cli._data import load_data
from sklinvariant.cli._options import Outcome, add_device, add_output, add_seed
from sklinvariant.cli._outputs import save_figure, start_figure
from sklinvariant.cli._tour_families import FAMILIES, Digits
from sklinvariant.cli._tour_page import draw_page

_COLUMNS = ("family", "estimator", "learned from", "gives", "measured", "score", "baseline", "score", "s")
_LINE = "{:<13}{:<26}{:<25}{:<26}{:<22}{:>6}  {:<20}{:>6}{:>6}"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``tour``."""
    add_output(parser, "file for the figure", "demo.png")
    parser.add_argument(
        "--only", nargs="+", choices=FAMILIES, metavar="family", help=f"run only these families: {', '.join(FAMILIES)}"
    )
    add_seed(parser)
    add_device(parser)


def run(arguments: Namespace) -> Outcome:
    """Print each row of the table when it is measured, then save the figure."""
    import torch  # noqa: F401, torch must be imported before its threads can be limited
    from threadpoolctl import threadpool_limits

    start_figure(arguments.output, force=arguments.force)
    with threadpool_limits(1):  # networks this small run faster with one thread
        rows, failed = _measure(arguments.only or FAMILIES, _load(arguments.seed, arguments.device))
    if rows:
        _save({name: row for name, (row, _) in rows.items()}, arguments.output)
        print(f"\nfigure saved to {arguments.output}")
    documents = [{"family": name, **_as_document(row), "seconds": seconds} for name, (row, seconds) in rows.items()]
    failures = [{"family": name, "reason": reason} for name, reason in failed.items()]
    figure = arguments.output if rows else None
    return Outcome({"rows": documents, "failed": failures, "figure": figure}, status=1 if failed else 0)


def _as_document(row):
    return {name: value for name, value in row._asdict().items() if name not in ("draw", "metric", "caption")}


def _measure(names, digits):
    """Return {family: (row, seconds)}, and {family: reason} of the families that failed."""
    rows, failed = {}, {}
    print(f"digits: {len(digits.y)} training images, {len(digits.y_test)} test images\n")
    print(_LINE.format(*_COLUMNS))
    for name in names:
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # short fits warn that they have not converged
                row = FAMILIES[name](digits)
        except Exception as error:  # the other families can still be measured
            print(f"sklinvariant: {name}: {error}", file=sys.stderr)
            failed[name] = str(error)
            continue
        _stopping.check()  # never print the score of a model whose training was interrupted
        rows[name] = row, time.perf_counter() - started
        scores = f"{row.score:.3f}", row.baseline, f"{row.baseline_score:.3f}"
        print(_LINE.format(name, *row[:4], *scores, f"{rows[name][1]:.1f}"), flush=True)
    return rows, failed


def _load(seed, device):
    from sklearn.model_selection import train_test_split

    data = load_data("digits")
    split = train_test_split(data.images, data.target, test_size=1 / 3, stratify=data.target, random_state=seed)
    return Digits(*split, seed, device)  # type: ignore[call-arg]


def _save(rows, path):
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in _measure
        figure = draw_page(rows)
    save_figure(figure, path, dpi=80)
    plt.close(figure)
