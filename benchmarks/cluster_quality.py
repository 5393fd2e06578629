"""Invariant clustering compared with k-means and spectral clustering: section 4 of Ji, Henriques, Vedaldi 2019.

    python benchmarks/cluster_quality.py digits ablation labels
    python benchmarks/cluster_quality.py images DATA.npz [DATA.npz ...] [--images 10000] [--epochs 15]
    python benchmarks/cluster_quality.py embeddings CIFAR10.npz WEIGHTS.npz [--images 10000]
    options: [--seeds 3] [--output FOLDER]

Each part prints a table of accuracies in %, with clusters matched one to one with classes: mean ± standard deviation
over the seeds, the best seed, and the seconds of a fit. The head is chosen by its loss. Labels are used only to compute
the accuracy.

"digits": the 1,797 digits of scikit-learn, as rows (pairs of neighbours) and as images (pairs of views).
"ablation": the same with one setting changed at a time (table 2), as rows and as images.
"labels": accuracy on held-out images, by the share of labelled training images (100 % to 1 %) and the number of
clusters (figure 6).
"images": grey images (n, 28, 28) uint8 in DATA (x_train, y_train, x_test, y_test), with a VGG of an eighth of the width
in the paper. The figure shows accuracy and loss against wall time.
"embeddings": the mean over the cells of SqueezeNet 1.1 for CIFAR-10 at 96 pixels, with pairs of neighbours, 20 epochs.
"""

import argparse
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from measuring import add_json, report
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import normalize
from skorch.callbacks import Callback
from tqdm import tqdm

from sklinvariant import IICClusterer
from sklinvariant.cluster import OverclusteringClassifier
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.inspection import style
from sklinvariant.metrics import clustering_accuracy
from sklinvariant.networks import SqueezeNet11Features, vgg_trunk

# classes of equal size; rows as they are, and as many epochs as the published figures had
SETTINGS = {"entropy_weight": 2.0, "scale": None, "max_epochs": 100}
HEADER = ["", "accuracy, %", "best seed", "seconds"]


def measured(name, make, X, y, seeds, test=None):
    """A row of the table for the clusterers that ``make(seed)`` returns, on X and, if given, on other samples."""
    scores, others, seconds = [], [], []
    for seed in range(seeds):
        started = time.perf_counter()
        model = make(seed).fit(X)
        seconds.append(time.perf_counter() - started)
        scores.append(100 * clustering_accuracy(y, model.labels_))
        if test is not None and hasattr(model, "predict"):
            others.append(100 * clustering_accuracy(test[1], model.predict(test[0])))
    row = [name, spread(scores), f"{max(scores):.1f}", f"{np.median(seconds):.1f}"]
    if test is not None:
        row.insert(2, spread(others) if others else "–")
    print("  ".join(row), flush=True)
    return row


def spread(scores):
    return f"{np.mean(scores):.1f} ± {np.std(scores):.1f}"


def peers(k, neighbors=10):
    return {
        "k-means": lambda seed: KMeans(k, n_init=10, random_state=seed),
        "spectral clustering": lambda seed: SpectralClustering(
            k, affinity="nearest_neighbors", n_neighbors=neighbors, random_state=seed
        ),
    }


def digits():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    return X, X.reshape(-1, 8, 8), y


def part_digits(args):
    X, images, y = digits()
    rows = [measured(name, make, X, y, args.seeds) for name, make in peers(10).items()]
    make = lambda seed: IICClusterer(10, **SETTINGS, random_state=seed)  # noqa: E731
    rows.append(measured("IICClusterer, rows", make, X, y, args.seeds))
    rows.append(measured("IICClusterer, images", make, images, y, args.seeds))
    print()
    report("cluster_digits", HEADER, rows, args)


class NotCentred(IICClusterer):
    """A network that does not centre the samples."""

    def _start(self, samples, scaling, generator):
        network = super()._start(samples, scaling, generator)
        network.shift.zero_()
        network.scale.fill_(1)
        return network


class SmallHeads(IICClusterer):
    """Heads whose initial weights are a tenth of the usual size."""

    def _start(self, samples, scaling, generator):
        network = super()._start(samples, scaling, generator)
        with torch.no_grad():
            network.heads.linear.weight.mul_(0.1)
        return network


def part_ablation(args):
    X, images, y = digits()
    random = {"init": "random"}
    changes = {
        "settings of this page": (IICClusterer, {}),
        "random start": (IICClusterer, random),
        "random start, not centred": (NotCentred, random),
        "random start, small heads": (SmallHeads, random),
        "random start, batches of 250": (IICClusterer, {"batch_size": 250, **random}),
        "random start, no entropy weight": (IICClusterer, {"entropy_weight": 1.0, **random}),
        "random start, 400 epochs": (IICClusterer, {"max_epochs": 400, **random}),
        "not centred": (NotCentred, {}),
        "no entropy weight (λ = 1)": (IICClusterer, {"entropy_weight": 1.0}),
        "λ = 3": (IICClusterer, {"entropy_weight": 3.0}),
        "auxiliary heads of 50": (IICClusterer, {"n_overclusters": 50}),
        "one head": (IICClusterer, {"n_heads": 1}),
        "20 heads": (IICClusterer, {"n_heads": 20}),
        "3 partners per sample (r = 3)": (IICClusterer, {"n_repeats": 3}),
        "batches of 250": (IICClusterer, {"batch_size": 250}),
        "no decay": (IICClusterer, {"learning_rate_decay": None}),
        "learning rate of 0.001": (IICClusterer, {"learning_rate": 1e-3}),
    }
    rows = []
    for name, (kind, params) in changes.items():
        make = lambda seed: kind(10, random_state=seed, **SETTINGS | params)  # noqa: B023, E731
        _, of_rows, _, _ = measured(f"{name}, rows", make, X, y, args.seeds)
        _, of_images, _, seconds = measured(f"{name}, images", make, images, y, args.seeds)
        rows.append([name, of_rows, of_images, seconds])
    print()
    report("cluster_ablation", ["", "rows", "images", "seconds, images"], rows, args)


def part_labels(args):
    _, images, y = digits()
    shares = (1.0, 0.25, 0.1, 0.05, 0.01)
    rows, curves = [], {}
    for k in (10, 20, 40, 80):
        scores = np.zeros((args.seeds, len(shares)))
        for seed in range(args.seeds):
            split = train_test_split(images, y, test_size=0.3, stratify=y, random_state=seed)
            X, X_test, y_train, y_test = split
            clusterer = FrozenEstimator(IICClusterer(k, **SETTINGS, random_state=seed).fit(X))
            for i, share in enumerate(shares):
                some = np.random.RandomState(seed).permutation(len(y_train))[: round(share * len(y_train))]
                known = np.full_like(y_train, -1)
                known[some] = y_train[some]
                model = OverclusteringClassifier(clusterer).fit(X, known)
                scores[seed, i] = 100 * model.score(X_test, y_test)
        curves[k] = scores
        rows.append([f"{k} clusters", *(spread(column) for column in scores.T)])
        print("  ".join(rows[-1]), flush=True)
    print()
    report("cluster_labels", ["labels", *(f"{100 * share:g} %" for share in shares)], rows, args)
    figure, ax = plt.subplots(figsize=(6, 4))
    for k, scores in curves.items():
        ax.errorbar(100 * np.array(shares), scores.mean(0), scores.std(0), marker="o", label=f"{k} clusters")
    ax.set(xscale="log", xlabel="labels, % of the training images", ylabel="accuracy on other images, %")
    ax.legend()
    save(figure, args.output / "labels.png")


class Progress(Callback):
    """Records the accuracy of the best head on some images, and the loss, after each epoch."""

    def __init__(self, images, y):
        self.images, self.y = torch.from_numpy(images).float()[..., None] / 255, y
        self.seconds, self.scores, self.losses = [], [], []

    def on_train_begin(self, net, **kwargs):
        self.spent, self.started = 0.0, time.perf_counter()

    @torch.no_grad()
    def on_epoch_end(self, net, **kwargs):
        self.spent += time.perf_counter() - self.started
        network = net.module_.eval()
        assigned = network.heads(network.features(self.images)).argmax(2).numpy()
        network.train()
        self.seconds.append(self.spent)
        self.scores.append(100 * np.mean([clustering_accuracy(self.y, labels) for labels in assigned.T]))
        self.losses.append(net.history[-1]["train_loss"])
        self.started = time.perf_counter()


def part_images(args):
    for path in args.paths:
        data = np.load(path)
        some = np.random.RandomState(0).permutation(len(data["x_train"]))[: args.images]
        X, y = data["x_train"][some], data["y_train"][some]
        test = data["x_test"], data["y_test"]
        flat, flat_test = X.reshape(len(X), -1) / 255, test[0].reshape(len(test[0]), -1) / 255
        print(f"\n{path.stem}: {len(X)} images, and {len(test[0])} others", flush=True)
        rows = [measured(name, make, flat, y, args.seeds, (flat_test, test[1])) for name, make in peers(10).items()]
        progress = []

        def make(seed, X=X, y=y, progress=progress):
            progress.append(Progress(X[:2000], y[:2000]))
            return IICClusterer(
                10,
                network=vgg_trunk(1, (16, 32, 64, 128)),
                batch_size=500,
                entropy_weight=2.0,
                max_epochs=args.epochs,
                callbacks=[progress[-1]],
                random_state=seed,
            )

        rows.append(measured("IICClusterer", make, X, y, args.seeds, test))
        print()
        report(f"cluster_images_{path.stem.lower()}", [*HEADER[:2], "other images", *HEADER[2:]], rows, args)
        figure, axes = plt.subplots(1, 2, figsize=(10, 4))
        for seed, run in enumerate(progress):
            axes[0].plot(run.seconds, run.scores, "o-", label=f"seed {seed}")
            axes[1].plot(run.seconds, run.losses, "o-")
        axes[0].set(xlabel="seconds of training", ylabel="accuracy, mean of the heads, %", title=path.stem)
        axes[1].set(xlabel="seconds of training", ylabel="loss, in parts of ln k")
        axes[0].legend()
        save(figure, args.output / f"{path.stem}.png")


def part_embeddings(args):
    data, weights = np.load(args.paths[0]), args.paths[1]
    some = np.random.RandomState(0).permutation(len(data["x_train"]))[: args.images]
    X = embed(data["x_train"][some], weights)
    y = data["y_train"].ravel()[some]
    rows = [measured("k-means, features without scaling", peers(10)["k-means"], X, y, args.seeds)]
    X = normalize(np.sqrt(X))  # square roots, scaled to unit length
    rows += [measured(name, make, X, y, args.seeds) for name, make in peers(10).items()]
    for n_neighbors in (10, 30):
        params = SETTINGS | {"max_epochs": 20, "n_neighbors": n_neighbors}
        make = lambda seed: IICClusterer(10, **params, random_state=seed)  # noqa: B023, E731
        rows.append(measured(f"IICClusterer, {n_neighbors} neighbours", make, X, y, args.seeds))
    print()
    report("cluster_embeddings", HEADER, rows, args)


def embed(images, weights, size=96):
    """The mean over the cells of each image, (n, 512)."""
    cells = BackbonePatches(
        SqueezeNet11Features(),
        weights=weights,
        bgr=True,  # the input of the published weights: 0-255 minus the mean colour
        mean=np.array([104, 117, 123]) / 255,
        std=1 / 255,
        image_size=size,
    )
    bags = cells.fit(images[:1]).transform
    parts = [images[start : start + 500] for start in range(0, len(images), 500)]
    return np.concatenate([[bag.mean(0) for bag in bags(part)] for part in tqdm(parts, desc="features")])


def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"figure: {path}", flush=True)


@style()
def main():
    parts = {name.removeprefix("part_"): part for name, part in globals().items() if name.startswith("part_")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", help=f"parts ({', '.join(parts)}) and the files that they need")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=Path("cluster-figures"))
    add_json(parser)
    args = parser.parse_args()
    args.paths = [Path(word) for word in args.what if word not in parts]
    warnings.filterwarnings("ignore", "Graph is not fully connected")
    for name in args.what:
        if name in parts:
            print(f"\n## {name}\n", flush=True)
            parts[name](args)


if __name__ == "__main__":
    main()
