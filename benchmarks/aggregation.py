"""Speed and memory of the aggregations, compared with other implementations in the same run.

    python benchmarks/aggregation.py [--quick] [--device cuda] [--output table.md]

Times are medians of the repetitions. Memory is the largest growth of the resident set during the call. "of peak" is the
share of the matrix-product rate measured at the start, where only the necessary multiplications are counted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import torch
from measuring import add_json, record, table
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from sklinvariant import VLAD, BagOfWords, DescriptorSets, FisherVector, LearnedBoW

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def measure(function, repeats):
    """Median seconds, and the largest growth of the resident set in MB."""
    function()
    seconds, peaks = [], []
    for _ in range(repeats):
        before, peak, stop = resident(), [0], threading.Event()

        def watch(before=before, peak=peak, stop=stop):
            while not stop.wait(0.002):
                peak[0] = max(peak[0], resident() - before)

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
        stop.set()
        watcher.join()
        peaks.append(peak[0])
    return statistics.median(seconds), statistics.median(peaks) / 1e6


def matrix_rate(device):
    a = torch.randn(2048, 2048, device=device)
    seconds, _ = measure(lambda: a @ a, 9)
    return 2 * 2048**3 / seconds


def naive_soft(values, codebook, gamma, m):
    values, codebook = torch.as_tensor(values), torch.as_tensor(codebook)
    return torch.softmax(-gamma * torch.cdist(values, codebook) ** 2, 1).view(-1, m, len(codebook)).mean(1)


def scipy_soft(values, codebook, gamma, m):
    scores = -gamma * cdist(values, codebook, "sqeuclidean")
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return (scores / scores.sum(1, keepdims=True)).reshape(-1, m, len(codebook)).mean(1)


def skimage_fisher(bags, mixture):
    """Encode one image per call, because it does not support batches."""
    from skimage.feature import fisher_vector

    return np.stack([fisher_vector(bag, mixture) for bag in bags])


class Table:
    columns = ("work", "N", "k", "d", "ours s", "of peak", "MB", "peer", "peer s", "peer MB", "ratio")

    def __init__(self, rate):
        self.rate, self.rows = rate, []
        print(table(self.columns, []))

    def add(self, cells):
        self.rows.append(cells)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)

    def compare(self, work, shape, ours, peers, flops, repeats):
        seconds, memory = measure(ours, repeats)
        for peer, function in peers.items() or {"—": None}.items():
            cells = (work, *shape, f"{seconds:.3f}", f"{flops / seconds / self.rate:.0%}", f"{memory:.0f}", peer)
            if function is None:
                self.add((*cells, "", "", ""))
                continue
            theirs, their_memory = measure(function, min(repeats, 3))
            self.add((*cells, f"{theirs:.3f}", f"{their_memory:.0f}", f"{theirs / seconds:.1f}"))


def encodings(results, n, m, k, d, device, repeats):
    rng = np.random.RandomState(0)
    centres = rng.normal(size=(k, d)).astype(np.float32)
    values = centres[rng.randint(k, size=n)] + rng.normal(size=(n, d)).astype(np.float32)
    bags = DescriptorSets(values, np.arange(0, n + 1, m))
    codebook = centres + 0.1 * rng.normal(size=(k, d)).astype(np.float32)
    bow = BagOfWords(codebook=codebook, device=device).fit(bags)
    soft = BagOfWords(codebook=codebook, assignment="soft", device=device).fit(bags)
    vlad = VLAD(codebook=codebook, assignment="soft", device=device).fit(bags)
    kmeans = KMeans(k, init=codebook, n_init=1, max_iter=1).fit(values[: 4 * k])
    kmeans.cluster_centers_ = codebook
    bag = np.repeat(np.arange(n // m), m)

    def predict_and_count():
        return np.bincount(bag * k + kmeans.predict(values), minlength=n // m * k).reshape(-1, k) / m

    shape, product = (n, k, d), 2.0 * n * k * d
    peers = {"KMeans.predict + bincount": predict_and_count}
    results.compare("hard BoW", shape, lambda: bow.transform(bags), peers, product, repeats)
    peers = {"naive torch, N x k": lambda: naive_soft(values, codebook, soft.gamma_, m)}
    if n * k <= 5e7:
        peers["scipy cdist + softmax"] = lambda: scipy_soft(values, codebook, soft.gamma_, m)
    results.compare("soft BoW", shape, lambda: soft.transform(bags), peers, product, repeats)
    if k <= 256:
        results.compare("soft VLAD", shape, lambda: vlad.transform(bags), {}, 2 * product, repeats)


def fisher(results, images, m, k, d, device, repeats):
    rng = np.random.RandomState(0)
    bags = DescriptorSets.from_bags(rng.normal(size=(images, m, d)).astype(np.float32))
    mixture = GaussianMixture(k, covariance_type="diag", max_iter=5, random_state=0).fit(bags.values[:10_000])
    model = FisherVector(mixture=mixture, device=device).fit(bags)
    flops = 8.0 * images * m * k * d
    double = GaussianMixture(k, covariance_type="diag", max_iter=5, random_state=0).fit(
        bags.values[:10_000].astype(np.float64)
    )
    double_bags = [bag.astype(np.float64) for bag in bags]
    peers = {
        "skimage, float32": lambda: skimage_fisher(bags, mixture),
        "skimage, float64": lambda: skimage_fisher(double_bags, double),
    }
    results.compare("Fisher vector", (images * m, k, d), lambda: model.transform(bags), peers, flops, repeats)


def epoch(results, images, m, k, d, device, repeats):
    rng = np.random.RandomState(0)
    bags = DescriptorSets.from_bags(rng.normal(size=(images, m, d)).astype(np.float32))
    y = rng.randint(10, size=images)
    params = {"descriptors_per_sample": None, "fine_tune": False, "init": "random", "device": device}
    model = LearnedBoW(k, max_epochs=repeats, **params).fit(bags, y)
    seconds = statistics.median(row["seconds"] for row in model.history_)
    flops = 2.0 * images * m * k * 2 * d * 3
    share = f"{flops / seconds / results.rate:.0%}"
    results.add(("LearnedBoW, an epoch", images * m, k, d, f"{seconds:.3f}", share, "", "—", "", "", ""))


def codebooks(results, n, k, d, device):
    """Ten iterations of k-means, initialised with random descriptors."""

    values = np.random.RandomState(0).normal(size=(n, d)).astype(np.float32)
    bags = DescriptorSets(values, [0, n])
    ours = BagOfWords(k, max_iter=10, tol=0, subsample=None, device=device)
    peers = {"KMeans, random start": lambda: KMeans(k, init="random", n_init=1, max_iter=10, tol=0).fit(values)}
    try:
        import faiss

        peers["faiss"] = lambda: faiss.Kmeans(d, k, niter=10, max_points_per_centroid=10**9).train(values)
    except ImportError:
        print("faiss is not installed: not compared", file=sys.stderr)
    results.compare("k-means, 10 iterations", (n, k, d), lambda: ours.fit(bags), peers, 20.0 * n * k * d, 3)


def import_time():
    code = "import time; t = time.perf_counter(); import sklinvariant; print(time.perf_counter() - t)"
    return statistics.median(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that the script runs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", help="also write the table to this file")
    add_json(parser)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    repeats, device, small = 3 if arguments.quick else 5, arguments.device, arguments.quick
    rate = matrix_rate(device)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"
    head = (
        f"{name}; torch {torch.__version__}; matrix product {rate / 1e9:.0f} GFLOP/s; medians of {repeats}; "
        f"import sklinvariant {import_time() * 1e3:.0f} ms"
    )
    print(head + "\n")
    results = Table(rate)
    for n, k, d in [(20_000, 64, 32)] if small else [(100_000, 64, 64), (250_000, 1024, 128), (500_000, 1024, 128)]:
        encodings(results, n, 1000, k, d, device, repeats)
    fisher(results, 20 if small else 200, 1000, 64, 64, device, repeats)
    epoch(results, 200 if small else 4000, 121, 64, 64, device, repeats)
    codebooks(results, *((5_000, 32, 16) if small else (200_000, 1024, 128)), device)
    record("aggregation_speed", results.columns, results.rows, arguments)
    if arguments.output:
        with open(arguments.output, "w") as file:
            file.write(f"{head}\n\n{table(results.columns, results.rows)}\n")


if __name__ == "__main__":
    main()
