"""Speed on a GPU: operators, training and search, as shares of what the same GPU reaches in the same run.

    PYTHONPATH=. python benchmarks/gpu.py --part ops|train|search [--data FOLDER] [--quick] [--json FOLDER]

"ops": each operator of `sklinvariant.ops` with a Triton kernel, compared with torch as a user would write it, eager and
compiled. "Share" is the rate of the operator divided by the rate of a large matrix product in the same precision, or by
the bandwidth of a copy. "train": complete fits. "search": search among up to a billion codes.

No row of a part is started after ``--minutes`` (ten); the row that runs is finished. Each part writes its table after
every row, and names in it what it left out for lack of time.

``--quick`` uses tiny sizes and also runs on a CPU, where it shows only that the script works. ``--data`` names a folder
with ``mnist.npz`` (x_train, y_train) and ``cifar10_residual.npz``; without it, these rows are left out. Besides torch
(2.6 or later) with its triton, the script needs numpy, scipy, scikit-learn, joblib and safetensors, which images for
GPUs usually hold, and skorch with tabulate, which can be brought along as pure Python wheels. faiss is optional.
"""

import argparse
import importlib.util
import statistics
import time
from pathlib import Path

import torch
from measuring import add_json, record, table

PARTS = ("ops", "train", "search")
PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


class Gpu:
    """The device, its rates, and how functions are timed on it."""

    def __init__(self, quick):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.quick = quick
        self.rates = {}

    def size(self, full, quick):
        return quick if self.quick else full

    def normal(self, *shape, dtype=torch.float32, seed=0):
        generator = torch.Generator(self.device).manual_seed(seed)
        return torch.randn(*shape, device=self.device, dtype=dtype, generator=generator)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, function, budget=1.0):
        """Median seconds of a call: after two calls, as many as fit the budget, at least 3 and at most 30."""
        for _ in range(2):
            function()
        self.wait()
        taken, started = [], time.perf_counter()
        while len(taken) < 3 or (len(taken) < 30 and time.perf_counter() - started < budget):
            before = time.perf_counter()
            function()
            self.wait()
            taken.append(time.perf_counter() - before)
        return statistics.median(taken)

    def once(self, function):
        """Seconds and result of a single call, for fits."""
        self.wait()
        before = time.perf_counter()
        result = function()
        self.wait()
        return time.perf_counter() - before, result

    def peak(self, function):
        """Megabytes that a call allocates beyond what is there before."""
        if self.device.type != "cuda":
            function()
            return float("nan")
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        self.wait()
        return (torch.cuda.max_memory_allocated() - before) / 1e6

    def matmul_rate(self, precision):
        """Floating point operations per second of a large matrix product."""
        if precision not in self.rates:
            from sklinvariant._precision import computing_in

            n = self.size(8192, 256)
            a, b = (self.normal(n, n, dtype=PRECISIONS[precision], seed=seed) for seed in (0, 1))
            with computing_in("tf32" if precision == "tf32" else "float32"):
                self.rates[precision] = 2 * n**3 / self.seconds(lambda: a @ b)
        return self.rates[precision]

    def bandwidth(self):
        """Bytes per second, read and written, of a copy."""
        if "copy" not in self.rates:
            source = self.normal(self.size(1 << 30, 1 << 20))
            target = torch.empty_like(source)
            self.rates["copy"] = 2 * source.numel() * 4 / self.seconds(lambda: target.copy_(source))
        return self.rates["copy"]

    def describe(self):
        """The device, the driver and the versions of what computes, for the record."""
        found = {"device": str(self.device), "torch": torch.__version__}
        if importlib.util.find_spec("triton") is not None:
            import triton

            found["triton"] = triton.__version__
        if self.device.type == "cuda":
            properties = torch.cuda.get_device_properties(self.device)
            found |= {
                "device": properties.name,
                "memory, GB": round(properties.total_memory / 1e9, 1),
                "CUDA": torch.version.cuda,
                "driver": _driver(),
            }
        return found


def _driver():
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


class Report:
    """A table that is printed row by row, and written after each, until the time is over."""

    def __init__(self, name, columns, args, gpu):
        self.name, self.columns, self.args, self.gpu = name, columns, args, gpu
        self.rows, self.end = [], time.perf_counter() + 60 * args.minutes

    def add(self, *row):
        self.rows.append(list(row))
        print(" | ".join(map(str, row)), flush=True)
        record(self.name, self.columns, self.rows, self.args, gpu=self.gpu.describe() | self.rates())

    def rates(self):
        return {f"rate of {name}": f"{rate:.3g}" for name, rate in self.gpu.rates.items()}

    def note(self, name, text):
        self.add(name, text, *[""] * (len(self.columns) - 2))

    def attempt(self, name, measure):
        """Add the rows of ``measure()`` for which there is time, or the error as a row, so that others are measured."""
        try:
            rows = measure()
            while time.perf_counter() < self.end:
                row = next(rows, None)
                if row is None:
                    break
                self.add(*row)
            else:
                self.note(name, "the time is over; further rows of this kind, if any, were not measured")
        except Exception as error:
            self.note(name, f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
        if self.gpu.device.type == "cuda":
            torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="ops")
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and CIFAR-10")
    parser.add_argument("--minutes", type=float, default=10.0, help="no row is started later")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    add_json(parser)
    args = parser.parse_args()
    gpu = Gpu(args.quick)
    if gpu.device.type != "cuda" and not args.quick:
        parser.error("no GPU was found. Use --quick to try the script on a CPU")
    part = importlib.import_module(f"gpu_{args.part}")
    report = Report(f"gpu_{args.part}", part.COLUMNS, args, gpu)
    for name, measure in part.cases(gpu, args).items():
        report.attempt(name, measure)
    print(table(report.columns, report.rows))


if __name__ == "__main__":
    main()
