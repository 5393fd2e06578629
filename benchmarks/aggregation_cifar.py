"""Bags of Words of the features of a pretrained network: Katharopoulos et al. 2017, table I and figure 2, on CIFAR-10.

    python benchmarks/aggregation_cifar.py DATA.npz WEIGHTS.npz [--seeds 3] [--words 64 256 1024]
        [--train 4000] [--test 2000] [--epochs 15] [--cache FOLDER] [--output table.md] [--figure epochs.png]

DATA contains x_train, y_train, x_test and y_test, with images (n, 32, 32, 3) uint8. WEIGHTS contains the weights of
SqueezeNet 1.1, as `sklinvariant.networks.SqueezeNet11Features` reads them. Images are enlarged to 128 pixels. Their
descriptors are the 49 cells of fire7, reduced from 384 to 64 features by a PCA of the training images. Histograms get a
χ² map, and the classifier of the table is a LinearSVC. The figure shows the accuracy of the jointly learned classifier
after each epoch. T1 is initialised with the codebook of the Bag of Words in its row. The script uses one thread.
"""

import argparse
import hashlib
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from measuring import add_json, record, table
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklinvariant import BagOfWords, DescriptorSets, LearnedBoW
from sklinvariant.feature_extraction import BackbonePatches, OnDescriptors
from sklinvariant.inspection import style
from sklinvariant.networks import SqueezeNet11Features


class EpochScores:
    """A scikit-learn callback that scores the model on new bags after each epoch."""

    max_propagation_depth = None

    def __init__(self, bags, y):
        self.bags, self.y, self.scores = bags, y, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            self.scores.append(fitted_estimator.score(self.bags, self.y))


def extract(data, weights, seed, n_train, n_test, size, layer, cache):
    """Bags of training and test images, reduced by a PCA of the training images; read from the cache if it exists."""
    rng = np.random.RandomState(seed)
    train = rng.permutation(len(data["x_train"]))[:n_train]
    test = rng.permutation(len(data["x_test"]))[:n_test]
    y, y_test = data["y_train"][train], data["y_test"][test]
    key = hashlib.sha256(data["x_train"][train].tobytes() + data["x_test"][test].tobytes()).hexdigest()[:12]
    files = [cache / f"{key}_{layer}_{size}_{part}" for part in ("train", "test")] if cache else []
    if files and all(file.exists() for file in files):
        return [DescriptorSets.load(file) for file in files], y, y_test
    cells = BackbonePatches(
        SqueezeNet11Features(),
        layer=layer,
        weights=weights,
        bgr=True,  # the input of the published weights: 0-255 minus the mean colour
        mean=np.array([104, 117, 123]) / 255,
        std=1 / 255,
        image_size=size,
    )
    pipeline = make_pipeline(cells, OnDescriptors(PCA(64, random_state=0), random_state=0))
    bags = [pipeline.fit_transform(data["x_train"][train]), pipeline.transform(data["x_test"][test])]
    for file, part in zip(files, bags, strict=False):
        part.save(file)
    return bags, y, y_test


def accuracy(method, bags, y, test_bags, y_test):
    model = make_pipeline(AdditiveChi2Sampler(), LinearSVC(random_state=0)).fit(method.transform(bags), y)
    return model.score(method.transform(test_bags), y_test)


def run(bags, y, test_bags, y_test, k, seed, epochs):
    """Accuracies of BoW, T1 not learned and T1 learned with k words, and the accuracy of T1 by epoch."""
    arguments = (bags, y, test_bags, y_test)
    bow = BagOfWords(k, random_state=seed).fit(bags)
    soft = BagOfWords(codebook=bow, assignment="soft", random_state=seed).fit(bags)
    start = LearnedBoW(k, init=soft, max_epochs=0, random_state=seed).fit(bags, y)
    monitor = EpochScores(test_bags, y_test)
    learned = LearnedBoW(k, init=soft, max_epochs=epochs, random_state=seed)
    learned.set_callbacks(monitor).fit(bags, y)
    table = [accuracy(method, *arguments) for method in (bow, soft, learned)]
    return table, [start.score(test_bags, y_test), *monitor.scores]


@style()
def draw(curves, baselines, path):
    """Draw figure 2: accuracy by epoch, mean and spread over the seeds, with the Bag of Words as horizontal lines."""
    figure, ax = plt.subplots(figsize=(6, 4.5))
    for i, (k, scores) in enumerate(curves.items()):
        scores, colour = 100 * np.array(scores), f"C{i}"
        epochs, mean, spread = np.arange(scores.shape[1]), scores.mean(0), scores.std(0)
        ax.plot(epochs, mean, color=colour, label=f"T1, {k} words")
        ax.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        ax.axhline(100 * np.mean(baselines[k]), color=colour, linestyle="--", label=f"Bag of Words, {k}")
    ax.set(xlabel="epoch (0: not learned)", ylabel="accuracy on test images, %")
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--words", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--size", type=int, default=128, help="side in pixels to which images are enlarged")
    parser.add_argument("--layer", default="fire7")
    parser.add_argument("--cache", type=Path, help="folder in which descriptors are cached")
    parser.add_argument("--output", help="file for the table")
    parser.add_argument("--figure", default="aggregation_cifar.png")
    add_json(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    with np.load(arguments.data) as file:
        data = {name: file[name] for name in file.files}
    tables, curves = {k: [] for k in arguments.words}, {k: [] for k in arguments.words}
    for seed in range(arguments.seeds):
        (bags, test_bags), y, y_test = extract(
            data,
            arguments.weights,
            seed,
            arguments.train,
            arguments.test,
            arguments.size,
            arguments.layer,
            arguments.cache,
        )
        for k in arguments.words:
            started = time.perf_counter()
            scores, curve = run(bags, y, test_bags, y_test, k, seed, arguments.epochs)
            tables[k].append(scores)
            curves[k].append(curve)
            seconds = time.perf_counter() - started
            print(f"seed {seed}  {k} words: {np.round(scores, 4)}  {seconds:.0f} s", flush=True)
    head = f"{arguments.seeds} seeds, {arguments.train} training and {arguments.test} test images"
    rows = []
    for k, scores in tables.items():
        moments = zip(100 * np.mean(scores, 0), 100 * np.std(scores, 0), strict=True)
        rows.append([k, *(f"{mean:.1f} ± {spread:.1f}" for mean, spread in moments)])
    shown = sorted({*range(0, arguments.epochs, 3), 1, arguments.epochs})
    by_epoch = []
    for k, scores in curves.items():
        mean = 100 * np.mean(scores, 0)
        by_epoch.append([f"T1 {k}", *(f"{mean[epoch]:.1f}" for epoch in shown)])
    columns, epochs = ["words", "BoW", "T1, not learned", "T1, learned"], ["words, epoch", *shown]
    record("aggregation_cifar", columns, rows, arguments)
    record("aggregation_cifar_epochs", epochs, by_epoch, arguments)
    text = f"{head}\n\n{table(columns, rows)}\n\n{table(epochs, by_epoch)}\n"
    print(text)
    if arguments.output:
        Path(arguments.output).write_text(text)
    draw(curves, {k: np.array(scores)[:, 0] for k, scores in tables.items()}, arguments.figure)
    print(f"figure: {arguments.figure}")


if __name__ == "__main__":
    main()
