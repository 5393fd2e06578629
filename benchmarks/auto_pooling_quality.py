"""What AutoPooling learns from natural video: figures 4, 6, 9 and 10 and table 1 of Sukhbaatar, Makino, Aihara 2013.

    python benchmarks/auto_pooling_quality.py VIDEOS CIFAR10.npz [--part invariance classification causes]
        [--seeds 3] [--filters 32] [--clusters 128 288 512] [--finest-grid 4] [--figures FOLDER]

VIDEOS is a folder of video files and of folders of images. CIFAR10.npz contains x_train, y_train, x_test and y_test.

"invariance": 16 × 16 grey patches of consecutive frames, 400 features of a sparse autoencoder, and 100 clusters for
each λ. F is measured on held-out clips, in as many splits of the clips as there are seeds.

"classification": a sparse autoencoder on 6 × 6 patches of CIFAR-10, applied at the 27 × 27 positions of 32 × 32 pixels.
Its maps are averaged over 3 × 3 cells to 9 × 9 and divided by their standard deviations. AutoPooling is fitted to such
maps of patches of consecutive frames. A StandardScaler and a LinearSVC are trained on the pooled features of 100 and
1,000 images per class, drawn again for each seed, and of all 5,000. λ for each number of clusters, and C for each
pooling and size, are chosen on 5,000 training images that are not used for training the classifier.

"causes": the influence of each setting on the comparison with a 2 × 2 grid, for 20 filters and 80 clusters. The table
shows the accuracy on 5,000 training images of classifiers trained on 10,000 and on 1,000 others.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from measuring import add_json, report
from sklearn.cluster import MiniBatchKMeans
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from tqdm import tqdm

from sklinvariant import AutoPooling
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.datasets import frame_pairs
from sklinvariant.feature_extraction import ConvolutionalFeatures
from sklinvariant.inspection import ClusterDisplay, PoolingRegionDisplay, style
from sklinvariant.metrics import invariance_score
from sklinvariant.pooling import SpatialPooling

PAPER = {"standardize": False}  # the objective of the paper
ALIVE = {"image_size": 144, "min_change": 0.01, "max_change": 0.3, "min_contrast": 0.03, "random_state": 0}
GRIDS = (((2, 2),), ((3, 3),), ((2, 2), (3, 3)), ((4, 4),), ((2, 2), (3, 3), (4, 4)))
STRENGTHS = (1e-3, 1e-2, 1e-1)  # C of the linear SVM
SIZES = (100, 1000)  # images per class of the small training sets


def part_invariance(args):
    """Figures 4 and 6."""
    pairs, clips = frame_pairs(args.videos, n_pairs=args.pairs, patch_size=16, grayscale=True, **ALIVE)
    n = len(pairs)
    print(f"{n} pairs of 16 × 16 patches from {len(set(clips))} clips")
    extractor = SparseAutoencoder(400, weight_decay=0.1, random_state=0)
    convolution = ConvolutionalFeatures(extractor, patch_size=16, whitening_eps=1.0, random_state=0).fit(
        pairs.reshape(2 * n, 16, 16)
    )
    features = convolution.transform(pairs.reshape(2 * n, 16, 16)).reshape(n, 2, -1)
    splits = list(GroupShuffleSplit(args.seeds, test_size=0.3, random_state=0).split(features, groups=clips))
    raw = [invariance_score(features[test], random_state=0) for _, test in splits]
    rows, curve = [["features", "", f"{np.mean(raw):.2f} ± {np.std(raw):.2f}", ""]], []
    strengths = (0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)
    for strength in tqdm(strengths, desc="λ"):
        scores, kept = [], []
        for seed, (train, test) in enumerate(splits):
            pooling = AutoPooling(100, invariance=strength, **PAPER, random_state=seed).fit(features[train])
            pooled = pooling.transform(features[test])
            rebuilt = pooling.inverse_transform(pooled)
            scores.append(invariance_score(pooled, random_state=0))
            kept.append(1 - np.mean((features[test] - rebuilt) ** 2) / np.mean(features[test] ** 2))
        curve.append(scores)
        cells = f"{np.mean(scores):.2f} ± {np.std(scores):.2f}", f"{np.mean(kept):.2f}"
        rows.append(["pooled", strength, *cells])
    report("auto_pooling_invariance", ["", "λ", "F, other clips", "energy rebuilt"], rows, args)
    figure, axes = plt.subplots(figsize=(6.5, 4))
    places = np.arange(len(strengths))
    axes.errorbar(places, np.mean(curve, 1), np.std(curve, 1), fmt="o-", label="after pooling")
    axes.axhline(np.mean(raw), color="k", ls="--", label="before")
    axes.set(xticks=places, xticklabels=strengths, xlabel="λ", ylabel="invariance score F", ylim=0)
    axes.legend()
    save(figure, args.figures / "invariance.png")
    pooling = AutoPooling(100, **PAPER, random_state=0).fit(features)
    figure, axes = plt.subplots(figsize=(9, 8))
    ClusterDisplay.from_estimator(pooling, convolution.filters_[..., 0], components=16, ax=axes)
    save(figure, args.figures / "clusters.png")


def part_classification(args):
    """Table 1 and figures 9 and 10."""
    data = np.load(args.cifar)
    images, y = data["x_train"], data["y_train"].ravel()
    order = np.random.RandomState(0).permutation(len(images))
    extractor = SparseAutoencoder(args.filters, random_state=0)
    convolution = ConvolutionalFeatures(extractor, pool=3, n_patches=100_000, random_state=0).fit(
        images[order[:10_000]]
    )
    pairs, clips = frame_pairs(args.videos, n_pairs=args.pairs, patch_size=32, **ALIVE)
    n = len(pairs)
    frames, maps, test = map(convolution.transform, (pairs.reshape(2 * n, 32, 32, 3), data["x_train"], data["x_test"]))
    deviation = frames.std((0, 1, 2))  # otherwise maps with high variance attract most clusters
    for part in (frames, maps, test):
        part /= deviation
    shape, frames = maps.shape[1:], frames.reshape(n, 2, -1)
    print(f"{n} pairs of patches from {len(set(clips))} clips; maps {shape}: {frames.shape[2]} features", flush=True)
    poolings = {}
    for grids in (grids for grids in GRIDS if max(grids)[0] <= args.finest_grid):
        name = " + ".join(f"{rows}×{columns}" for rows, columns in grids)
        poolings[f"spatial {name}"] = SpatialPooling(grids).fit(maps[:1])
    moments = AutoPooling(1, **PAPER, max_iter=1, tol=1.0, random_state=0).fit(frames)
    for count in args.clusters:
        pooling = best_pooling(count, args, moments, maps, y, order)
        poolings[f"auto, {count} clusters, λ = {pooling.invariance:g}"] = pooling
    results = {
        name: compare(name, flat_or_maps(pooling, maps), flat_or_maps(pooling, test), y, data["y_test"].ravel(), args)
        for name, pooling in poolings.items()
    }
    rows = [
        [name, n_features, *(f"{np.mean(scores):.1f} ± {np.std(scores):.1f}" for scores in few), f"{full:.1f}"]
        for name, (n_features, few, full) in results.items()
    ]
    print()
    header = ["pooling", "features", *(f"{size} a class, {args.seeds} draws" for size in SIZES), "5000 a class"]
    report("auto_pooling_classification", header, rows, args)
    draw_accuracies(results, args.figures / "accuracy.png")
    figure, axes = plt.subplots(1, 2, figsize=(14, 6))
    pooling = next(pooling for name, pooling in poolings.items() if name.startswith("auto"))
    ClusterDisplay.from_estimator(pooling, convolution.filters_, components=10, ax=axes[0])
    PoolingRegionDisplay.from_estimator(pooling, shape[:2], components=10, n_maps=15, ax=axes[1])
    save(figure, args.figures / "regions.png")


def part_causes(args):
    """Change one setting at a time, at a size where each fit takes seconds."""
    data = np.load(args.cifar)
    images, y = data["x_train"], data["y_train"].ravel()
    order = np.random.RandomState(0).permutation(len(images))
    train, held = order[:10_000], order[-5000:]
    pairs, _ = frame_pairs(args.videos, n_pairs=args.pairs, patch_size=32, **ALIVE)
    sources = {"video": pairs, "shifts": shifted(images[train], len(pairs))}
    rows = []

    def features(extractor, source="video", scaled=True):
        convolution = ConvolutionalFeatures(extractor, pool=3, n_patches=100_000, random_state=0).fit(images[train])
        frames, *parts = map(
            convolution.transform, (sources[source].reshape(-1, 32, 32, 3), images[train], images[held])
        )
        deviation = frames.std((0, 1, 2)) if scaled else 1
        return (frames / deviation).reshape(len(pairs), 2, -1), *(part / deviation for part in parts)

    def row(name, x, x_held, *shape):
        cells = [
            f"{100 * classifier(C).fit(x[:n], y[train[:n]]).score(x_held, y[held]):.1f}"
            for n, C in ((10_000, 1e-2), (1000, 1e-3))
        ]
        rows.append([name, *cells, *shape])
        print(*rows[-1], flush=True)

    def grids(name, maps):
        for grid in ((2, 2), (3, 3)):
            pooling = SpatialPooling((grid,)).fit(maps[1][:1])
            row(f"{name}, {grid[0]}×{grid[1]} grid", *map(pooling.transform, maps[1:]), "1.0", "")

    def auto(name, maps, count=80, **params):
        pooling = AutoPooling(
            count, **{"invariance": 8, "max_iter": args.max_iter, "random_state": 0, **PAPER, **params}
        )
        pooling.fit(maps[0])
        row(name, *(flat_or_maps(pooling, part) for part in maps[1:]), *extent(pooling.components_, maps[1].shape[1:]))

    base = features(SparseAutoencoder(20, random_state=0))
    grids("20 filters", base)
    auto(f"{args.pairs} pairs of video, λ = 8, {args.max_iter} iterations", base)
    for seed in (1, 2):
        auto(f"another start ({seed})", base, random_state=seed)
    for part in (8, 4, 2):
        auto(f"{args.pairs // part} pairs", (base[0][::part], *base[1:]))
    for strength in (0, 2, 4, 12, 16, 64):
        auto(f"λ = {strength}", base, invariance=strength)
    for max_iter in (50, 100, 1000):
        auto(f"{max_iter} iterations", base, max_iter=max_iter)
    auto('solver="sgd"', base, solver="sgd")
    auto("cross reconstruction", base, cross_reconstruction=True)
    auto("images and the same shifted by up to 3 pixels", features(SparseAutoencoder(20, random_state=0), "shifts"))
    auto("maps not divided by their standard deviations", features(SparseAutoencoder(20, random_state=0), scaled=False))
    sparse = features(SparseAutoencoder(20, sparsity=0.02, random_state=0))
    grids("sparser features", sparse)
    auto("sparser features", sparse)
    triangles = features(MiniBatchKMeans(20, n_init=1, random_state=0))
    grids("k-means features", triangles)
    auto("k-means features", triangles)
    more = features(SparseAutoencoder(50, random_state=0))
    grids("50 filters", more)
    for count in (200, 450):
        auto(f"50 filters, {count} clusters", more, count=count)
    print()
    header = ["", "10,000 images", "1,000 images", "maps a cluster", "cells a cluster"]
    report("auto_pooling_causes", header, rows, args)


def shifted(images, n):
    """Images, and copies shifted by up to 3 pixels and reflected at the edges: (n, 2, 32, 32, 3)."""
    random = np.random.RandomState(0)
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    moves = random.randint(7, size=(n, 2))
    chosen = random.randint(len(images), size=n)
    moved = [padded[i, dy : dy + 32, dx : dx + 32] for i, (dy, dx) in zip(chosen, moves, strict=True)]
    return np.stack([images[chosen], moved], 1)


def extent(components, shape):
    """Number of maps, and of their cells, over which a cluster extends: the median of 1 / Σ share²."""
    weights = components.reshape(len(components), -1, shape[2])
    weights = weights[weights.any((1, 2))]
    counts = []
    for axis in (1, 2):
        shares = weights.sum(axis) / weights.sum((1, 2))[:, None]
        counts.append(f"{np.median(1 / np.square(shares).sum(1)):.1f}")
    return counts


def flat_or_maps(pooling, maps):
    return pooling.transform(maps if isinstance(pooling, SpatialPooling) else maps.reshape(len(maps), -1))


def best_pooling(count, args, moments, maps, y, order):
    """AutoPooling with the λ that is best on training images that are not used for training the classifier."""
    train, validation = order[:10_000], order[-5000:]
    found = {}
    for strength in args.invariances:
        pooling = AutoPooling(count, invariance=strength, **PAPER, max_iter=args.max_iter, random_state=0)
        pooling.fit_moments([moments])
        x, other = (flat_or_maps(pooling, maps[rows]) for rows in (train, validation))
        score = 100 * max(classifier(C).fit(x, y[train]).score(other, y[validation]) for C in STRENGTHS)
        found[score] = pooling
        print(
            f"{count} clusters, λ = {strength:g}: {score:.1f} on training images left out; J = {pooling.objective_:.4g}"
        )
    return found[max(found)]


def classifier(C):
    return make_pipeline(StandardScaler(), LinearSVC(C=C, dual=False, tol=1e-2))


def compare(name, x, x_test, y, y_test, args):
    """Number of features, accuracies for several draws of each number of images, and the accuracy for all images."""
    order = np.random.RandomState(0).permutation(len(y))
    held, few = order[-5000:], []
    for size in SIZES:
        rows = balanced(y, order[:-5000], size)
        best = max(STRENGTHS, key=lambda C: classifier(C).fit(x[rows], y[rows]).score(x[held], y[held]))
        draws = [balanced(y, np.random.RandomState(seed + 1).permutation(len(y)), size) for seed in range(args.seeds)]
        few.append([100 * classifier(best).fit(x[rows], y[rows]).score(x_test, y_test) for rows in draws])
    full = 100 * classifier(best).fit(x, y).score(x_test, y_test)
    print(f"{name}: {np.mean(few, 1).round(1)}, {full:.1f}", flush=True)
    return x.shape[1], few, full


def balanced(y, order, count):
    """The first rows of each class."""
    return np.concatenate([order[y[order] == label][:count] for label in np.unique(y)])


def draw_accuracies(results, path):
    figure, axes = plt.subplots(figsize=(6.5, 4.5))
    for kind, marker in (("spatial", "s"), ("auto", "o")):
        chosen = sorted(value for name, value in results.items() if name.startswith(kind))
        counts = [n_features for n_features, _, _ in chosen]
        (line,) = axes.plot(counts, [full for _, _, full in chosen], f"{marker}-", label=f"{kind}, 5000 a class")
        for i, (size, dashes) in enumerate(zip(SIZES, (":", "--"), strict=True)):
            scores = np.array([few[i] for _, few, _ in chosen])
            style = {"fmt": marker + dashes, "color": line.get_color(), "label": f"{kind}, {size} a class"}
            axes.errorbar(counts, scores.mean(1), scores.std(1), **style)
    axes.set(xlabel="features", ylabel="accuracy on CIFAR-10, %")
    axes.legend()
    save(figure, path)


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"figure: {path}\n", flush=True)


@style()
def main():
    parts = {"invariance": part_invariance, "classification": part_classification, "causes": part_causes}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--clusters", type=int, nargs="+", default=[128, 288, 512])
    parser.add_argument("--invariances", type=float, nargs="+", default=[8, 12])
    parser.add_argument("--finest-grid", type=int, default=4)
    parser.add_argument("--max-iter", type=int, default=300)
    parser.add_argument("--figures", type=Path, default=Path("auto-pooling-figures"))
    add_json(parser)
    args = parser.parse_args()
    for part in args.part:
        print(f"\n## {part}\n", flush=True)
        parts[part](args)


if __name__ == "__main__":
    main()
