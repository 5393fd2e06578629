"""Speed of the segmentation loss, compared with a loop over displacements and with one large convolution.

    python benchmarks/segmentation_loss.py [--quick] [--device cuda]

Times are medians of the repetitions, forward and backward together. Set OMP_NUM_THREADS=1 to use one thread.
"""

import argparse
import statistics
import time

import torch
from measuring import add_json, report
from torch.nn.functional import conv2d, pad

from sklinvariant.cluster._segmentation._dense_mutual_information import dense_information
from sklinvariant.ops import joint_information

SETTINGS = [(8, 4, 64, 2), (8, 8, 64, 5), (8, 24, 64, 3), (4, 8, 128, 10)]  # images, clusters, side, half window


def by_loop(first, second, d):
    h, w = first.shape[-2:]
    second = pad(second, (d, d, d, d))
    each = []
    for down in range(2 * d + 1):
        for right in range(2 * d + 1):
            there = second[:, :, down : down + h, right : right + w]
            each.append(joint_information(torch.einsum("nihw,njhw->ij", first, there)))
    return torch.stack(each).mean()


def by_large_kernel(first, second, d):
    """The method of the paper: swap the first two axes, and use one view as the kernel."""
    joints = conv2d(second.transpose(0, 1), first.transpose(0, 1), padding=d)
    return joint_information(joints.permute(2, 3, 1, 0)).mean()


METHODS = {
    "loop over displacements": by_loop,
    "one conv2d": by_large_kernel,
    "dense_information": dense_information,
    "dense_information, joint": lambda *args: dense_information(*args, average="joint"),
}


def seconds(method, views, half_window):
    started = time.perf_counter()
    for view in views:
        view.grad = None
    value = method(*views, half_window)
    value.backward()
    value = value.item()  # synchronises with a GPU
    return time.perf_counter() - started, value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu")
    add_json(parser)
    args = parser.parse_args()
    print(f"{args.device}, {torch.get_num_threads()} thread(s); milliseconds\n")
    rows = []
    for n, k, side, half_window in SETTINGS[: 2 if args.quick else None]:
        generator = torch.Generator().manual_seed(0)
        views = [
            torch.randn(n, k, side, side, generator=generator).softmax(1).to(args.device).requires_grad_()
            for _ in range(2)
        ]
        times = {name: [] for name in METHODS}
        values = {}
        for _ in range(2 if args.quick else 6):
            for name, method in METHODS.items():
                took, values[name] = seconds(method, views, half_window)
                times[name].append(took)
        assert max(abs(values[name] - values["one conv2d"]) for name in list(METHODS)[:3]) < 1e-4
        cells = [f"{1e3 * statistics.median(took[1:]):.1f}" for took in times.values()]
        rows.append([n, k, side, half_window, *cells])
    report("segmentation_loss", ["images", "clusters", "side", "half window", *METHODS], rows, args)


if __name__ == "__main__":
    main()
