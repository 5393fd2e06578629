"""Speed of HammingNeighbors: exact search compared with faiss, and its indexes on up to ten million codes.

    python benchmarks/hamming.py [--quick] [--bits 64] [--threads 1] [--output table.md]

Codes are the signs of random projections (LSH) of points from a Gaussian mixture, with 1000 centres drawn from N(0, I)
in 32 dimensions and a standard deviation of 0.5. Uniformly random codes have no meaningful neighbours. Queries are
other points of the same mixture. A neighbour counts as found if it is as near as the 10th true neighbour. Queries per
second are measured for batches of 1000, as medians of the repetitions. Each index is measured in a separate process,
and "MB" is the largest growth of this process beyond its codes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from measuring import add_json, record, table

K, CENTRES, DIMENSIONS = 10, 1000, 32
KNOBS = {
    "ivf": ("n_probes", (1, 2, 4, 8, 16, 32)),
    "hnsw": ("ef_search", (16, 32, 64, 128, 256)),
    "multihash": ("n_flips", (0, 1, 2, 3)),
}


def clustered_codes(n, n_bits, seed):
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = fixed.normal(size=(CENTRES, DIMENSIONS)).astype(np.float32)
    planes = fixed.normal(size=(DIMENSIONS, n_bits)).astype(np.float32)
    codes = np.empty((n, n_bits // 8), dtype=np.uint8)
    for start in range(0, n, 100_000):
        rows = min(100_000, n - start)
        points = centres[rng.integers(CENTRES, size=rows)]
        points += 0.5 * rng.normal(size=points.shape).astype(np.float32)
        codes[start : start + rows] = np.packbits(points @ planes > 0, axis=1)
    return codes


def memory(what):
    """MB of "VmRSS", the resident set, or of "VmHWM", its peak (Linux)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) / 1e3


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def seconds_of(function, repeats):
    function()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def against_faiss(n, n_bits, repeats, threads):
    """Seconds of sklinvariant and of faiss, alternating, for 1000 queries in one batch and in small batches."""
    import faiss

    from sklinvariant.neighbors import HammingNeighbors

    codes, queries = clustered_codes(n, n_bits, 1), clustered_codes(1000, n_bits, 2)
    faiss.omp_set_num_threads(threads)
    flat = faiss.IndexBinaryFlat(n_bits)
    flat.add(codes)
    ours = HammingNeighbors(K, packed=True).fit(codes)
    assert (flat.search(queries, K)[0] == ours.kneighbors(queries)[0]).all()
    rows = []
    for batch in (1000, 10, 1):
        asked = queries[:batch]
        taken = {flat: [], ours: []}
        for _ in range(repeats * (1 if batch == 1000 else 20)):
            for index, search in ((flat, lambda q: flat.search(q, K)), (ours, lambda q: ours.kneighbors(q))):
                started = time.perf_counter()
                search(asked)
                taken[index].append(time.perf_counter() - started)
        theirs, own = (statistics.median(taken[index]) for index in (flat, ours))
        rows.append((batch, f"{batch / theirs:.0f}", f"{batch / own:.0f}", f"{own / theirs:.3f}"))
    return rows


def one_index(kind, n, n_bits, repeats, threads, sweep):
    """All measurements of one index, in this process."""
    import faiss

    from sklinvariant.neighbors import HammingNeighbors

    codes, queries = clustered_codes(n, n_bits, 1), clustered_codes(1000, n_bits, 2)
    HammingNeighbors(packed=True).fit(codes[:1000]).kneighbors(queries[:10])  # loads libraries before the measurement
    faiss.omp_set_num_threads(threads)
    forget_peak()
    before = memory("VmRSS")
    started = time.perf_counter()
    model = HammingNeighbors(K, index=kind, packed=True, random_state=0).fit(codes)
    result = {"kind": kind, "n": n, "build": time.perf_counter() - started}
    seconds = seconds_of(lambda: model.kneighbors(queries), repeats)
    result["grown"] = memory("VmHWM") - before
    result |= {"effort": model.effort_, "sample": model.recall_, "recall": model.estimate_recall(queries)}
    result["rate"], result["sweep"] = len(queries) / seconds, []
    result["tenth"] = float(np.mean(HammingNeighbors(K, packed=True).fit(codes).kneighbors(queries[:100])[0][:, -1]))
    if sweep and kind != "exact":
        knob, efforts = KNOBS[kind]
        for effort in efforts:
            model.set_params(**{knob: effort})
            rate = len(queries) / seconds_of(lambda: model.kneighbors(queries), repeats)
            result["sweep"].append((f"{knob}={effort}", rate, model.estimate_recall(queries)))
        model.set_params(**{knob: None})
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "index")
        started = time.perf_counter()
        model.save(path)
        result["save"], result["file"] = time.perf_counter() - started, os.path.getsize(path) / 1e6
        for name, mmap_mode in (("load", None), ("map", "r")):
            started = time.perf_counter()
            again = HammingNeighbors.load(path, mmap_mode=mmap_mode)
            again.kneighbors(queries[:1])
            result[name] = time.perf_counter() - started
            del again
    return result


def in_own_process(kind, n, arguments, sweep):
    command = [sys.executable, os.path.abspath(__file__), "--one", kind, "--codes", str(n), "--bits"]
    command += [str(arguments.bits), "--threads", str(arguments.threads), "--repeats", str(arguments.repeats)]
    if sweep:
        command.append("--sweep")
    return json.loads(subprocess.check_output(command, text=True))


class Report:
    """Prints a table row by row, and stores it for ``--output`` and ``--json``."""

    def __init__(self, arguments):
        self.arguments, self.lines, self.tables = arguments, [], {}

    def head(self, name, *columns):
        self.name, self.tables[name] = name, (columns, [])
        self.say("\n" + table(columns, []))

    def add(self, *cells):
        self.tables[self.name][1].append(cells)
        self.say("| " + " | ".join(map(str, cells)) + " |")

    def say(self, line):
        self.lines.append(line)
        print(line, flush=True)

    def write(self):
        for name, (columns, rows) in self.tables.items():
            record(name, columns, rows, self.arguments)
        if self.arguments.output:
            with open(self.arguments.output, "w") as file:
                file.write("\n".join(self.lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that the script runs")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", help="also write the tables to this file")
    add_json(parser)
    parser.add_argument("--large", default="exact,multihash,ivf", help="indexes measured with the most codes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--codes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sweep", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(
            json.dumps(
                one_index(
                    arguments.one,
                    arguments.codes,
                    arguments.bits,
                    arguments.repeats,
                    arguments.threads,
                    arguments.sweep,
                )
            )
        )
        return
    small, large = (20_000, 50_000) if arguments.quick else (1_000_000, 10_000_000)
    report = Report(arguments)
    report.say(f"{arguments.bits} bits, {arguments.threads} thread(s), medians of {arguments.repeats}")
    report.head("hamming_faiss", "exact, 1000 queries in batches of", "faiss queries/s", "ours", "time, ours / faiss")
    for row in against_faiss(small, arguments.bits, arguments.repeats, arguments.threads):
        report.add(*row)
    sweeps = []
    report.head(
        "hamming_indexes",
        "index at its defaults",
        "codes",
        "build s",
        "MB",
        "effort",
        "recall on its sample",
        "recall@10",
        "queries/s",
        "save s",
        "file MB",
        "load s",
        "mapped s",
    )
    sizes = [(kind, small) for kind in ("exact", *KNOBS)] + [(kind, large) for kind in arguments.large.split(",")]
    for kind, n in sizes:
        got = in_own_process(kind, n, arguments, sweep=n == small)
        report.add(
            kind,
            f"{n:,}",
            f"{got['build']:.1f}",
            f"{got['grown']:.0f}",
            got["effort"] if got["effort"] is not None else "",
            f"{got['sample']:.3f}",
            f"{got['recall']:.3f}",
            f"{got['rate']:.0f}",
            f"{got['save']:.1f}",
            f"{got['file']:.0f}",
            f"{got['load']:.2f}",
            f"{got['map']:.2f}",
        )
        sweeps += [(kind, *row) for row in got["sweep"]]
        tenth = got["tenth"]
    report.head("hamming_efforts", "index", "knob", "queries/s", "recall@10")
    for kind, knob, rate, recall in sweeps:
        report.add(kind, knob, f"{rate:.0f}", f"{recall:.3f}")
    report.say(f"\nThe 10th neighbour of a query among {large:,} codes is {tenth:.1f} bits away on average.")
    report.write()


if __name__ == "__main__":
    main()
