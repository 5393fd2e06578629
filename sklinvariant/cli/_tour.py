"""The command ``tour``: one method of each family on scikit-learn's digits, compared with a baseline."""

import sys
import time
import warnings
from argparse import ArgumentParser, Namespace

from sklinvariant.cli import _stopping as _stopping
from sklinvariant.cli._aggregation import add_force, load_data, start_figure
from sklinvariant.cli._outputs import save_figure
from sklinvariant.cli._tour_families import FAMILIES, Digits

_COLUMNS = ("family", "estimator", "learned from", "gives", "measured", "score", "baseline", "score", "s")
_LINE = "{:<13}{:<26}{:<25}{:<26}{:<22}{:>6}  {:<20}{:>6}{:>6}"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``tour``, which is also the default command."""
    parser.set_defaults(run=run)
    parser.add_argument("--output", default="demo.png", help="file for the figure (default: demo.png)")
    add_force(parser)
    parser.add_argument(
        "--only", nargs="+", choices=FAMILIES, metavar="family", help=f"run only these families: {', '.join(FAMILIES)}"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")


def run(arguments: Namespace) -> int:
    """Print each row of the table when it is measured, then save the figure. Return the exit status."""
    import torch  # noqa: F401, torch must be imported before its threads can be limited
    from threadpoolctl import threadpool_limits

    start_figure(arguments.output, force=arguments.force)
    with threadpool_limits(1):  # networks this small run faster with one thread
        rows, status = _measure(arguments.only or FAMILIES, _load(arguments.seed))
    if rows:
        _draw(rows, arguments.output)
        print(f"\nfigure saved to {arguments.output}")
    return status


def _measure(names, digits):
    """Return the rows of the families that did not fail, and the exit status."""
    rows, status = {}, 0
    print(f"digits: {len(digits.y)} training images, {len(digits.y_test)} test images\n")
    print(_LINE.format(*_COLUMNS))
    for name in names:
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # short fits warn that they have not converged
                row = rows[name] = FAMILIES[name](digits)
        except Exception as error:  # the other families can still be measured
            print(f"sklinvariant: {name}: {error}", file=sys.stderr)
            status = 1
            continue
        _stopping.check()  # never print the score of a model whose training was interrupted
        scores = f"{row.score:.3f}", row.baseline, f"{row.baseline_score:.3f}"
        print(_LINE.format(name, *row[:4], *scores, f"{time.perf_counter() - started:.1f}"), flush=True)
    return rows, status


def _load(seed):
    from sklearn.model_selection import train_test_split

    data = load_data("digits")
    split = train_test_split(data.images, data.target, test_size=1 / 3, stratify=data.target, random_state=seed)
    return Digits(*split, seed)  # type: ignore[call-arg]


def _draw(rows, path):
    import matplotlib.pyplot as plt

    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure = plt.figure(figsize=(5 * columns, 4 * lines), layout="constrained")
    parts = figure.subfigures(lines, columns, squeeze=False).flat
    for part, row in zip(parts, rows.values(), strict=False):
        row.draw(part)
        part.suptitle(f"{row.estimator}: {row.score:.2f}, {row.baseline}: {row.baseline_score:.2f}")
    save_figure(figure, path, dpi=80)
    plt.close(figure)
