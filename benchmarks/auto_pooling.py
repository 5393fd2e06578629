"""The solvers of AutoPooling compared with plain projected gradient descent: objective against wall time, in one run.

    python benchmarks/auto_pooling.py [--frames 20000] [--features 400] [--components 64] [--figure auto_pooling.png]

The frames are patches of scikit-learn's two photographs in a drifting window, described by k-means features (triangle
activation of Coates and Ng). All methods start from the same random matrix, and figures are medians over several
starts. The peers are the method of the paper ("a simple gradient descent algorithm"): projected gradient steps without
momentum, over all frames or over batches of 128 pairs, each with the best of several constant step sizes. The time of
"moment" includes its pass over the frames. The second table shows the seconds of this pass and of 200 iterations, for
10⁴ to 10⁶ frames.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from measuring import add_json, report
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import load_sample_images
from sklearn.exceptions import ConvergenceWarning

from sklinvariant import AutoPooling
from sklinvariant.inspection import style
from sklinvariant.pooling._auto_pooling._by_batches import pair_curvature
from sklinvariant.pooling._auto_pooling._descent import PoolingObjective, best_multiple
from sklinvariant.pooling._pair_moments import pair_moments, pooling_errors

STEPS = (1.0, 2.0, 4.0)  # in units of 1 / largest curvature
CLIP = 40  # frames


def drifting_patches(n, seed=0, size=12):
    """Grey patches (n, size²) in clips of CLIP frames, whose window moves by a pixel or two per frame."""
    rng = np.random.RandomState(seed)
    images = [image.mean(2) / 255 for image in load_sample_images().images]
    patches = np.empty((n, size, size), np.float32)
    for start in range(0, n, CLIP):
        image = images[rng.randint(len(images))]
        place = rng.randint(0, np.array(image.shape) - size)
        velocity = rng.uniform(-2, 2, size=2)
        for i in range(start, min(start + CLIP, n)):
            y, x = np.clip(place.round().astype(int), 0, np.array(image.shape) - size)
            patches[i] = image[y : y + size, x : x + size]
            place, velocity = place + velocity, velocity + rng.normal(scale=0.3, size=2)
    return patches.reshape(n, -1)


def features(patches, k):
    """Triangle activations (n, k) of k-means on normalised, whitened patches."""
    x = patches - patches.mean(1, keepdims=True)
    x /= np.sqrt(x.var(1, keepdims=True) + 0.01)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    x = x @ (vectors / np.sqrt(np.maximum(values, 0) + 0.1) @ vectors.T).astype(np.float32)
    means = MiniBatchKMeans(k, batch_size=2048, max_iter=5, n_init=1, random_state=0).fit(x[::5])
    distances = means.transform(x)
    return np.maximum(distances.mean(1, keepdims=True) - distances, 0).astype(np.float32)


def plain_descent(pairs, start, invariance, step, batch_size, budget, generator):
    """A list of (seconds, P) at times that grow by a tenth, not counting the time of copying P."""
    components = start.clone().requires_grad_()
    kept, clock, due = [], 0.0, 0.0
    while clock < budget:
        began = time.perf_counter()
        for index in torch.randperm(len(pairs), generator=generator).split(batch_size):
            batch = pairs if batch_size >= len(pairs) else pairs[index]
            change, missed = pooling_errors(batch[:, 0], batch[:, 1], components)
            (gradient,) = torch.autograd.grad((invariance * change + missed) / len(batch), components)
            with torch.no_grad():
                components.sub_(step * gradient).clamp_(min=0)
            now = clock + time.perf_counter() - began
            if now >= due:
                kept.append((now, components.detach().clone()))
                began, clock, due = time.perf_counter(), now, 1.1 * now
            if now >= budget:
                break
        clock += time.perf_counter() - began
    return kept


def first_time(curve, value):
    """Seconds until a curve of (seconds, objective) reaches a value."""
    return next((seconds for seconds, objective in curve if objective <= value), float("inf"))


def compare(rows, groups, args, seed):
    """Curves of (seconds, J) of all methods from the same start."""
    follows = torch.as_tensor(groups[1:] == groups[:-1])
    first = follows.nonzero().squeeze(1)
    tensor = torch.from_numpy(rows).to(args.device)
    pairs = torch.stack([tensor[first], tensor[first + 1]], 1)
    objective = PoolingObjective(pair_moments(tensor, follows), args.invariance)
    fresh = torch.rand(args.components, rows.shape[1], generator=torch.Generator().manual_seed(seed))
    start = best_multiple(fresh.to(objective.linear), *objective.ray(fresh.to(objective.linear)))

    def value(components):
        return objective.at(components.to(objective.linear)).iterate().objective

    curves = {}
    for name, batch_size in (("plain descent, all frames", len(pairs)), ("plain descent, batches", 128)):
        trials = []
        curvature = pair_curvature(pairs[:2048], args.invariance)
        for step in STEPS:
            generator = torch.Generator().manual_seed(seed)
            budget = args.seconds / 5  # to choose the step size; this time is not counted
            kept = plain_descent(pairs, start.float(), args.invariance, step / curvature, batch_size, budget, generator)
            trials.append((value(kept[-1][1]), step))
        step = min(trial for trial in trials if np.isfinite(trial[0]))[1]
        generator = torch.Generator().manual_seed(seed)
        kept = plain_descent(
            pairs, start.float(), args.invariance, step / curvature, batch_size, args.seconds, generator
        )
        curves[name] = [(seconds, value(components)) for seconds, components in kept]
    for solver in ("sgd", "moment"):
        model = AutoPooling(
            args.components,
            invariance=args.invariance,
            solver=solver,
            standardize=False,
            warm_start=True,  # from the same start as the others
            device=args.device,
            max_epochs=args.epochs,
            random_state=seed,
        )
        model._state = {"components": start.float().cpu().numpy()}
        model.history_, model.n_iter_ = [], 0
        began = time.perf_counter()
        model.fit(rows, groups=groups)
        seconds = time.perf_counter() - began
        parts = np.array([row["seconds"] for row in model.history_])
        clock = seconds - parts.sum() + parts.cumsum()  # the pass, before the first iteration
        if solver == "sgd":
            curves["AutoPooling, sgd"] = [(seconds, model.objective_)]
        else:
            curves["AutoPooling, moment"] = list(zip(clock, (row["objective"] for row in model.history_), strict=True))
    return curves


def compare_ends(runs, args):
    names = list(runs[0])
    best = [min(objective for curve in run.values() for _, objective in curve) for run in runs]

    def cell(name, share):
        seconds = statistics.median(
            first_time(run[name], low * (1 + share)) for run, low in zip(runs, best, strict=True)
        )
        return f"{seconds:.2f} s" if np.isfinite(seconds) else "-"

    rows = []
    for name in names:
        ends = [run[name][-1] for run in runs]
        same = [
            seconds / first_time(run["AutoPooling, moment"], objective)
            for run, (seconds, objective) in zip(runs, ends, strict=True)
        ]
        excess = statistics.median(end[1] / low - 1 for end, low in zip(ends, best, strict=True))
        rows.append(
            [name]
            + [cell(name, share) for share in (0.2, 0.1, 0.05, 0.01)]
            + [f"{statistics.median(end[0] for end in ends):.1f} s", f"{100 * excess:.1f} %"]
            + [f"{statistics.median(same):.0f}x" if name != "AutoPooling, moment" else ""]
        )
    head = ["", "J within 20 %", "10 %", "5 %", "1 %", "ended after", "above the best J", "moment is faster by"]
    report("auto_pooling_solvers", head, rows, args)
    print()


@style()
def draw(runs, path):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, curve in runs[0].items():
        seconds, values = np.array(curve).T
        axes.plot(seconds, values, marker="o" if len(curve) == 1 else None, label=name)
    axes.set(xscale="log", yscale="log", xlabel="seconds", ylabel="J", title="Objective against wall time")
    axes.legend()
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def growth(args):
    """Seconds of the pass, of 200 iterations, and of one plain step over all frames, by the number of frames."""
    small = features(drifting_patches(min(10_000, max(args.growth))), 100)
    rows = []
    for n in args.growth:
        X = np.tile(small, (-(-n // len(small)), 1))[:n]
        groups = np.arange(n) // CLIP
        tensor = torch.from_numpy(X).to(args.device)
        passes, descents, steps = [], [], []
        for seed in range(args.repeats):
            model = AutoPooling(25, standardize=False, tol=0.0, max_iter=200, random_state=seed, device=args.device)
            began = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X, groups=groups)
            descents.append(sum(row["seconds"] for row in model.history_))
            passes.append(time.perf_counter() - began - descents[-1])
            components = torch.rand(25, 100, device=args.device, requires_grad=True)
            began = time.perf_counter()
            change, missed = pooling_errors(tensor[:-1], tensor[1:], components)
            torch.autograd.grad(2 * change + missed, components)[0].sum().item()
            steps.append(time.perf_counter() - began)
        rows.append([f"{n:,}", *(f"{statistics.median(times):.3f} s" for times in (passes, descents, steps))])
    print("100 features, 25 components\n")
    header = ["frames", "pass, with checks", "200 iterations after it", "one plain step over all frames"]
    report("auto_pooling_growth", header, rows, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=400)
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--invariance", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, default=30.0, help="time limit of each peer")
    parser.add_argument("--epochs", type=int, default=20, help="of the sgd solver")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--growth",
        type=int,
        nargs="*",
        default=[10_000, 100_000, 1_000_000],
        help="frames of the second table",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--figure", help="file for a figure with the curves of the first start")
    add_json(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = features(drifting_patches(args.frames), args.features)
    groups = np.arange(len(rows)) // CLIP
    print(
        f"{len(rows):,} frames in clips of {CLIP}, {args.features} features, {args.components} components, "
        f"invariance={args.invariance:g}, {args.device}, {torch.get_num_threads()} threads of torch (and as many of "
        f"numpy as OMP_NUM_THREADS says), medians of {args.repeats} starts\n"
    )
    runs = [compare(rows, groups, args, seed) for seed in range(args.repeats)]
    compare_ends(runs, args)
    if args.figure:
        draw(runs, args.figure)
    if args.growth:
        growth(args)


if __name__ == "__main__":
    main()
