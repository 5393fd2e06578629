"""Growth of the cost of HammingNeighbors up to 100 million codes, compared with faiss used directly.

    python benchmarks/hamming_scale.py [--sizes 1000000 10000000 100000000] [--bits 64] [--threads 1] [--json FOLDER]

Codes and queries are those of `hamming.py`. "ivf, random codes" searches uniformly random codes, which have no
meaningful neighbours: the worst case. Each index is built in a separate process. Seconds are those of the processor,
which other work on the machine disturbs less than those of the clock. "MB" is the largest growth of the process beyond
its codes, while the index is built and while it is saved. "opened" is the time to map the file and to search it once
(with faiss: to read it). The recall is measured on 200 queries. HammingNeighbors chooses its effort on a sample of the
stored codes; for faiss, it is the smallest of 1, 2, 3, 4, 6, 8, ... lists that reaches a recall of 0.95 on the queries.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from hamming import K, clustered_codes, forget_peak, memory
from measuring import add_json, report

RECALL, ASKED = 0.95, 200
KINDS = {"exact": 100, "ivf": 1000}  # queries per batch
MOST_RANDOM = 1_000_000  # random codes measured
GROWS = ("build", "MB", "file", "time of a query")
COLUMNS = ("index", "by", "codes", "build s", "MB", "file MB", "save s", "opened s", "lists", "recall@10", "queries/s")


class Ours:
    """HammingNeighbors."""

    def __init__(self, kind, codes):
        from sklinvariant.neighbors import HammingNeighbors

        self.model = HammingNeighbors(K, index=kind, packed=True, random_state=0).fit(codes)

    def search(self, queries):
        return self.model.kneighbors(queries)[0]

    def reach(self, queries, exact):
        return self.model.effort_

    def save(self, path):
        self.model.save(path)

    def open(self, path, query):
        type(self.model).load(path, mmap_mode="r").kneighbors(query)


class Faiss:
    """The index of faiss with as many lists."""

    def __init__(self, kind, codes):
        import faiss

        n, bits = len(codes), 8 * codes.shape[1]
        if kind == "exact":
            self.index = faiss.IndexBinaryFlat(bits)
        else:
            self.index = faiss.index_binary_factory(bits, f"BIVF{min(round(2 * n**0.5), 4096)}")
            self.index.cp.niter = 10
            self.index.cp.max_points_per_centroid = 64
            self.index.train(codes)
        self.index.add(codes)

    def search(self, queries):
        return self.index.search(queries, K)[0]

    def reach(self, queries, exact):
        if not hasattr(self.index, "nprobe"):
            return None
        for effort in sorted({round(a * 2**b) for a in (1, 1.5) for b in range(12)}):
            self.index.nprobe = effort
            if recall_of(self.search(queries), exact) >= RECALL:
                break
        return effort

    def save(self, path):
        import faiss

        faiss.write_index_binary(self.index, path)

    def open(self, path, query):
        import faiss

        faiss.read_index_binary(path).search(query, K)


LIBRARIES = {"here": Ours, "faiss": Faiss}


def recall_of(distances, exact):
    return float((distances <= exact[:, -1:]).mean())


def measured(library, kind, n, bits, threads, random):
    """All measurements of one index, in this process."""
    import faiss

    if random:
        codes, queries = (
            np.random.default_rng(i).integers(256, size=(m, bits // 8), dtype=np.uint8) for i, m in ((1, n), (2, 1000))
        )
    else:
        codes, queries = clustered_codes(n, bits, 1), clustered_codes(1000, bits, 2)
    faiss.omp_set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:  # loads libraries before the measurement
        warm = Ours("ivf", codes[:1000])
        warm.save(os.path.join(folder, "index"))
        warm.open(os.path.join(folder, "index"), queries[:10])
    exact = faiss.knn_hamming(queries[:ASKED], codes, K)[0]
    forget_peak()
    before, started = memory("VmRSS"), time.process_time()
    index = LIBRARIES[library](kind, codes)
    result = {"build": time.process_time() - started}
    result["effort"] = index.reach(queries[:ASKED], exact)
    result["recall"] = recall_of(index.search(queries[:ASKED]), exact)
    asked, seconds = queries[: KINDS[kind]], []
    for _ in range(3):
        started = time.process_time()
        index.search(asked)
        seconds.append(time.process_time() - started)
    result["rate"] = len(asked) / statistics.median(seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "index")
        started = time.process_time()
        index.save(path)
        result["save"], result["file"] = time.process_time() - started, os.path.getsize(path) / 1e6
        result["grown"] = memory("VmHWM") - before
        started = time.perf_counter()
        index.open(path, queries[:1])
        result["open"] = time.perf_counter() - started
    return result


def in_own_process(library, kind, n, arguments, random=False):
    command = [sys.executable, os.path.abspath(__file__), "--one", library, kind, "--sizes", str(n)]
    command += ["--bits", str(arguments.bits), "--threads", str(arguments.threads), *(["--random"] if random else [])]
    return json.loads(subprocess.check_output(command, text=True))


def exponents(rows, sizes):
    """The exponents of n in the build time, the memory, the file and the time of a query, fitted to all sizes."""
    values = {
        "build": [row["build"] for row in rows],
        "MB": [row["grown"] for row in rows],
        "file": [row["file"] for row in rows],
        "time of a query": [1 / row["rate"] for row in rows],
    }
    return {
        name: float(np.polyfit(np.log(sizes), np.log(np.maximum(some, 1e-9)), 1)[0]) for name, some in values.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kept", type=Path, help="folder of finished measurements, from which a run resumes")
    parser.add_argument("--no-new", action="store_true", help="report only the measurements in --kept")
    add_json(parser)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--random", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        found = measured(*arguments.one, *arguments.sizes, arguments.bits, arguments.threads, arguments.random)
        print(json.dumps(found))
        return
    cases = [(kind, library, False) for kind in KINDS for library in LIBRARIES] + [("ivf", "here", True)]
    found = {}
    for n in arguments.sizes:
        for case in cases:
            got = None if case[2] and n > MOST_RANDOM else kept(arguments, *case, n)
            if got is not None:
                found[(*case, n)] = got
    ordered = sorted(found, key=lambda key: cases.index(key[:3]))
    report("hamming_scale", COLUMNS, [cells(*key, found[key]) for key in ordered], arguments)
    rows = []
    for case in cases[:-1]:
        sizes = [n for n in arguments.sizes if (*case, n) in found]
        if len(sizes) > 1:
            grows = exponents([found[(*case, n)] for n in sizes], sizes)
            if case[:2] == ("exact", "here"):
                del grows["build"], grows["MB"]  # the codes are stored as they are
            rows.append((*case[:2], *(f"{grows[name]:.2f}" if name in grows else "" for name in GROWS)))
    report("hamming_scale_exponents", ("index", "by", *GROWS), rows, arguments)


def cells(kind, library, random, n, got):
    """The row of a measurement."""
    return (
        f"{kind}, random codes" if random else kind,
        library,
        f"{n:,}",
        f"{got['build']:.1f}",
        f"{max(got['grown'], 0):,.0f}",
        f"{got['file']:,.0f}",
        f"{got['save']:.2f}",
        f"{got['open']:.3f}",
        got["effort"] or "",
        f"{got['recall']:.3f}",
        f"{round(got['rate']):,}",
    )


def kept(arguments, kind, library, random, n):
    """A measurement, from the folder ``--kept`` if it is there. None if it is not and ``--no-new`` was given."""
    name = f"{kind}-{library}-{'random' if random else 'clustered'}-{n}-{arguments.bits}-{arguments.threads}.json"
    file = arguments.kept / name if arguments.kept else None
    if file is not None and file.exists():
        return json.loads(file.read_text())
    if arguments.no_new:
        return None
    got = in_own_process(library, kind, n, arguments, random)
    print(name, json.dumps(got), file=sys.stderr, flush=True)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(got))
    return got


if __name__ == "__main__":
    main()
