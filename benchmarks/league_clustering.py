"""Clustering in the league.

The score is the accuracy in %, with clusters matched one to one with classes. Labels are used for nothing else. Every
method is given the same rows and the number of classes, except HDBSCAN, which finds a number itself. k-means and
mixtures are the best of 10 and 5 starts by their own objective. Mixtures are fitted to at most 30 principal components.
The JSON also contains the normalised mutual information.
"""

import numpy as np
from league_sets import Family, bundled, cifar, coil, eth, from_files, from_to, grey, groceries
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from sklinvariant import IICClusterer, TEMIClusterer, TURTLEClusterer
from sklinvariant.metrics import clustering_accuracy


def clusterer(make):
    """A method that clusters the rows of a set with ``make(X, k, seed) -> labels``."""

    def method(data, seed):
        X, y = data
        labels = make(X, len(np.unique(y)), seed)
        return {
            "accuracy": 100 * clustering_accuracy(y, labels),
            "normalised mutual information": 100 * normalized_mutual_info_score(y, labels),
        }

    return method


def reduced(X, n_components):
    n_components = min(n_components, min(X.shape)) if n_components >= 1 else n_components
    return PCA(n_components, svd_solver="full").fit_transform(X)


def ours(cls, **settings):
    return clusterer(lambda X, k, seed: cls(n_clusters=k, random_state=seed, **settings).fit(X).labels_)


def kmeans(change):
    return clusterer(lambda X, k, seed: KMeans(k, n_init=10, random_state=seed).fit_predict(change(X)))


def spectral(X, k, seed):
    return SpectralClustering(k, affinity="nearest_neighbors", random_state=seed).fit_predict(X)


def mixture(kind):
    def make(X, k, seed):
        X = np.asarray(reduced(X, 30) if X.shape[1] > 30 else X, dtype=np.float64)
        for least_variance in (1e-6, 1e-4, 1e-2, 1.0):  # raised if a component collapses
            try:
                model = GaussianMixture(k, covariance_type=kind, n_init=5, reg_covar=least_variance, random_state=seed)
                return model.fit_predict(X)
            except ValueError:
                continue
        return np.zeros(len(X), dtype=int)

    return clusterer(make)


SKEWED = {0: 180, 3: 120, 5: 80, 8: 50, 9: 30}
CLUSTERING = Family(
    "clustering",
    "accuracy, %",
    development={
        "digits": bundled(load_digits),
        "digits, 1:20": bundled(load_digits, from_to(range(10), 174, 9)),
        "digits 0 3 5 8 9, 1:6": bundled(load_digits, SKEWED),
        "digits 4 9, 1:10": bundled(load_digits, {4: 180, 9: 18}),
        "digits 1 3 5 7 9": bundled(load_digits, dict.fromkeys((1, 3, 5, 7, 9), 200)),
        "digits 1 2 4 6 7, 1:20": bundled(load_digits, from_to((7, 1, 6, 2, 4), 170, 9)),
        "iris": bundled(load_iris),
        "wine": bundled(load_wine),
        "wine, standardised": bundled(load_wine, standardised=True),
        "MNIST, 1:20": from_files(grey, from_to(range(10), 400, 20), name="mnist"),
        "CIFAR-10": from_files(cifar, dict.fromkeys(range(10), 200)),
        "CIFAR-10 0 2 4 6 8, 1:10": from_files(cifar, from_to((0, 2, 4, 6, 8), 400, 40)),
        "ETH-80, 30 objects": from_files(eth, dict.fromkeys(range(0, 60, 2), 41)),
    },
    evaluation={
        "MNIST 1 3 5 7 9": from_files(grey, dict.fromkeys((1, 3, 5, 7, 9), 200), name="mnist", split="test"),
        "MNIST 1 2 4 6 7, 1:20": from_files(grey, from_to((7, 1, 6, 2, 4), 170, 9), name="mnist", split="test"),
        "breast cancer": bundled(load_breast_cancer),
        "breast cancer, standardised": bundled(load_breast_cancer, standardised=True),
        "Fashion-MNIST": from_files(grey, dict.fromkeys(range(10), 200), name="fashion_mnist"),
        "Fashion-MNIST, 1:20": from_files(grey, from_to(range(9, -1, -1), 400, 20), name="fashion_mnist"),
        "COIL-20": from_files(coil),
        "CIFAR-10 1 3 5 7 9, 1:10": from_files(cifar, from_to((9, 7, 5, 3, 1), 400, 40), start=5000),
        "ETH-80, 50 objects": from_files(eth, dict.fromkeys([*range(1, 60, 2), *range(60, 80)], 41)),
        "groceries, 31 products": from_files(groceries),
    },
    methods={
        "ours: IICClusterer, default settings": ours(IICClusterer),
        "ours: IICClusterer, λ = 2 (for equal sizes)": ours(IICClusterer, entropy_weight=2.0),
        "ours: IICClusterer, 5 heads": ours(IICClusterer, n_heads=5),
        "ours: IICClusterer, 5 heads, λ = 2 (for equal sizes)": ours(IICClusterer, n_heads=5, entropy_weight=2.0),
        "ours: TEMIClusterer, default settings": ours(TEMIClusterer),
        "ours: TURTLEClusterer, default settings": ours(TURTLEClusterer),
        "k-means": kmeans(lambda X: X),
        "k-means, unit length": kmeans(normalize),
        "k-means, PCA to 90 %, unit length": kmeans(lambda X: normalize(reduced(X, 0.9))),
        "spectral clustering": clusterer(spectral),
        "Gaussian mixture, full": mixture("full"),
        "Gaussian mixture, diagonal": mixture("diag"),
        "Gaussian mixture, tied": mixture("tied"),
        "HDBSCAN": clusterer(lambda X, k, seed: HDBSCAN(copy=True).fit_predict(X)),
        "agglomerative clustering (Ward)": clusterer(lambda X, k, seed: AgglomerativeClustering(k).fit_predict(X)),
    },
    earlier="ours, earlier defaults",
)
