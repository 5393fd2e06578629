"""Accuracy of learned and unlearned aggregations on images: Katharopoulos et al. 2017, table I and figure 2.

    python benchmarks/aggregation_quality.py PATH.npz [--components 24] [--seeds 3] [--train 4000] [--test 2000]
        [--output table.md]

PATH contains x_train, y_train, x_test and y_test, such as Fashion-MNIST or MNIST. Descriptors are 8 x 8 patches at
stride 2, or their first principal components with ``--components``. Histograms get a χ² map, and the classifier is a
LinearSVC. The table shows the mean ± standard deviation over the seeds, which determine the images and initialise the
methods. The script uses one thread.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from measuring import add_json, record, table
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sklinvariant import VLAD, BagOfWords, FisherVector, LearnedBoW, LearnedFisherVector, LearnedVLAD
from sklinvariant.feature_extraction import DensePatches, OnDescriptors

CHI2 = AdditiveChi2Sampler()
LONG = {"max_epochs": 60, "weight_decay": 3e-5}
METHODS = {
    **{f"BoW {k}": (BagOfWords(k), CHI2) for k in (16, 64, 512)},
    "BoW 512, MiniBatchKMeans": (BagOfWords(codebook=MiniBatchKMeans(512, random_state=0)), CHI2),
    **{f"T1 {k}, not learned": (BagOfWords(k, assignment="soft"), CHI2) for k in (16, 64)},
    **{f"T1 {k}, learned": (LearnedBoW(k), CHI2) for k in (16, 64)},
    **{f"T1 {k}, learned longer": (LearnedBoW(k, **LONG), CHI2) for k in (16, 64)},
    **{f"T1 {k}, learned from a mixture": (LearnedBoW(k, init="gmm"), CHI2) for k in (16, 64)},
    "VLAD 16": (VLAD(16), "passthrough"),
    "T2 16, not learned": (VLAD(16, assignment="soft"), "passthrough"),
    "T2 16, learned": (LearnedVLAD(16), "passthrough"),
    "FV 16": (FisherVector(16), "passthrough"),
    "FV 16, learned": (LearnedFisherVector(16), "passthrough"),
}


def run(data, seed, n_train, n_test, n_components, names):
    rng = np.random.RandomState(seed)
    train = rng.permutation(len(data["x_train"]))[:n_train]
    test = rng.permutation(len(data["x_test"]))[:n_test]
    pca = OnDescriptors(PCA(n_components, random_state=0), random_state=0) if n_components else "passthrough"
    patches = make_pipeline(DensePatches(8, stride=2), pca)
    bags, test_bags = patches.fit_transform(data["x_train"][train]), patches.transform(data["x_test"][test])
    for name in names:
        method, feature_map = METHODS[name]
        method = clone(method).set_params(random_state=seed)
        started = time.perf_counter()
        features = method.fit(bags, data["y_train"][train]).transform(bags)
        fitted = time.perf_counter() - started
        model = make_pipeline(feature_map, LinearSVC(random_state=0)).fit(features, data["y_train"][train])
        accuracy = model.score(method.transform(test_bags), data["y_test"][test])
        print(f"  seed {seed}  {name:<30} {accuracy:.4f}  {fitted:.1f} s", flush=True)
        yield name, features.shape[1], accuracy, fitted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--components", type=int, help="number of principal components (default: no PCA)")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--output")
    add_json(parser)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with np.load(arguments.path) as file:
        data = {name: file[name] for name in file.files}
    results = {}
    for seed in range(arguments.seeds):
        sizes = arguments.train, arguments.test, arguments.components
        for name, size, accuracy, seconds in run(data, seed, *sizes, arguments.methods):
            results.setdefault(name, (size, [], []))[1].append(accuracy)
            results[name][2].append(seconds)
    rows = []
    for name, (size, accuracies, seconds) in results.items():
        mean, spread = 100 * np.mean(accuracies), 100 * np.std(accuracies)
        rows.append([name, size, f"{mean:.1f} ± {spread:.1f}", f"{np.median(seconds):.1f}"])
    head = f"{arguments.seeds} seeds, {arguments.train} training and {arguments.test} test images"
    head += f", PCA to {arguments.components}" if arguments.components else ", raw patches"
    columns = ["method", "features", "accuracy %", "fit s"]
    record("aggregation_quality", columns, rows, arguments)
    text = f"{head}\n\n{table(columns, rows)}\n"
    print(text)
    if arguments.output:
        with open(arguments.output, "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
