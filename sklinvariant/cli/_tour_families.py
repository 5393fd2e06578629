"""The families of the tour: one method of each on scikit-learn's digits, compared with a baseline."""

from typing import Any, NamedTuple


class Digits(NamedTuple):
    """Images (n, 8, 8) in 0-1 and their classes: two thirds for training, one third for the test."""

    images: Any
    test_images: Any
    y: Any
    y_test: Any
    seed: int
    device: str = "auto"

    @property
    def settings(self) -> dict[str, Any]:
        """Parameters of all estimators of the tour."""
        return {"random_state": self.seed, "device": self.device}


class Row(NamedTuple):
    """A row of the table, and its card on the page of the tour.

    ``metric`` says in words what the scores measure. ``draw`` draws the result on a subfigure, and ``caption``
    says what is shown there.
    """

    estimator: str
    learned_from: str
    gives: str
    measured: str
    score: float
    baseline: str
    baseline_score: float
    draw: Any
    metric: str
    caption: str


def aggregation(digits: Any) -> Any:
    """Histograms of codewords that are learned with the classifier, or found by k-means."""
    from sklearn.kernel_approximation import AdditiveChi2Sampler
    from sklearn.pipeline import make_pipeline

    from sklinvariant import BagOfWords, LearnedBoW
    from sklinvariant.feature_extraction import DensePatches
    from sklinvariant.inspection import CodebookDisplay

    words = LearnedBoW(16, **digits.settings), BagOfWords(16, **digits.settings)
    scores = []
    for aggregator in words:
        model = make_pipeline(DensePatches(4, stride=1), aggregator, AdditiveChi2Sampler(), _svm(digits))
        scores.append(model.fit(digits.images, digits.y).score(digits.test_images, digits.y_test))

    def draw(part):
        CodebookDisplay.from_estimator(words[0], image_shape=(4, 4), ax=part.subplots()).ax_.set_title("")

    made = "labels", "histogram of 16 words", "accuracy"
    return Row(
        "LearnedBoW",
        *made,
        scores[0],
        "BagOfWords",
        scores[1],
        draw,
        "test accuracy of a linear classifier",
        "codewords: patches learned with the classifier",
    )


def features(digits: Any) -> Any:
    """Features of patches learned without labels, evaluated with a classifier that is fitted to 100 labels."""
    from sklearn.pipeline import make_pipeline

    from sklinvariant.autoencoder import SparseAutoencoder
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.inspection import around_grey
    from sklinvariant.pooling import SpatialPooling

    units = SparseAutoencoder(40, optimizer="lbfgs", **digits.settings)
    maps = ConvolutionalFeatures(units, patch_size=4, **digits.settings).fit(digits.images)
    learned = make_pipeline(maps, SpatialPooling()).fit(digits.images)
    scores = [_few_labels_score(digits, learned.transform), _few_labels_score(digits, _flat)]

    def draw(part):
        _tile(part, around_grey(_edges(digits)), 8)

    made = "patches", "feature maps", "accuracy, 100 labels"
    return Row(
        "SparseAutoencoder",
        *made,
        scores[0],
        "pixels",
        scores[1],
        draw,
        "test accuracy with 100 labels",
        "filters that the method learns from photographs",
    )


def nested(digits: Any) -> Any:
    """Retrieval: 300 digits rotated by multiples of 45 degrees are the queries, the upright digits the database."""
    import numpy as np

    from sklinvariant import BagOfWords, NestedInvariancePooler
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.inspection import RetrievalDisplay
    from sklinvariant.metrics import exact_ranking
    from sklinvariant.transforms import Rotation, Scale, warp

    images, own = _enlarge(digits.test_images[:300]), np.arange(300)
    words = BagOfWords(64, **digits.settings)
    backbone = ConvolutionalFeatures(
        words, patch_size=6, stride=2, pool=2, contrast_eps=0.1, whitening_eps=0.01, **digits.settings
    ).fit(_enlarge(digits.images[:300]))
    angles = 45 * np.random.RandomState(digits.seed).randint(8, size=len(images))
    turned = warp(images, np.concatenate([Rotation().matrix([[angle]]) for angle in angles]), fill="edge")
    orbits = {"rotation": Rotation(n_steps=24), "scale": Scale(n_steps=3)}
    found = []
    average = {"stages": [("translation", 1)]}
    for settings in ({"transforms": orbits}, average):
        pooler = NestedInvariancePooler(backbone, **settings, fill="edge", device=digits.device).fit(images)
        found.append(exact_ranking(pooler.transform(turned), pooler.transform(images), n_neighbors=4))
    scores = [float(np.mean(nearest[:, 0] == own)) for nearest in found]

    def draw(part):
        names = "the same image", "another image, also if of the same class"
        RetrievalDisplay.from_predictions(
            found[0][:3], turned[:3], images, y=own[:3], y_database=own, frame_names=names, figure=part
        )

    made = "rotations, scales", "invariant vector", "rotated images found"
    return Row(
        "NestedInvariancePooler",
        *made,
        scores[0],
        "average pooling",
        scores[1],
        draw,
        "share of upright images found first",
        "rotated queries and the upright images found for them",
    )


def video(digits: Any) -> Any:
    """Pooling learned from moving digits, compared with a grid that gives the same number of features."""
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans

    from sklinvariant import AutoPooling
    from sklinvariant.feature_extraction import ConvolutionalFeatures
    from sklinvariant.inspection import PoolingRegionDisplay
    from sklinvariant.pooling import SpatialPooling

    rng = np.random.RandomState(digits.seed)
    before, after = _move(digits.images, rng), _move(digits.images, rng)
    extractor = MiniBatchKMeans(24, n_init=1, random_state=digits.seed)
    maps = ConvolutionalFeatures(extractor, patch_size=4, **digits.settings).fit(before)
    pairs = np.stack([_flat(maps.transform(frames)) for frames in (before, after)], axis=1)
    grid = SpatialPooling([(2, 2)]).fit(maps.transform(before))
    settings = {"invariance": 10, "standardize": False, "tol": 1e-3}
    pooling = AutoPooling(4 * 24, **settings, **digits.settings).fit(pairs)
    moved = digits._replace(images=before, test_images=_move(digits.test_images, rng))
    scores = [
        _few_labels_score(moved, lambda images: pooling.transform(_flat(maps.transform(images)))),
        _few_labels_score(moved, lambda images: grid.transform(maps.transform(images))),
    ]

    def draw(part):
        display = PoolingRegionDisplay.from_estimator(pooling, (9, 9), components=4, n_maps=6, ax=part.subplots())
        display.ax_.set(title="", ylabel="four of the outputs", yticks=[])

    made = "frames of moving digits", "96 pooled features", "accuracy, 100 labels"
    return Row(
        "AutoPooling",
        *made,
        scores[0],
        "SpatialPooling",
        scores[1],
        draw,
        "test accuracy with 100 labels, digits in motion",
        "cells of feature maps that each output pools",
    )


def hashing(digits: Any) -> Any:
    """Retrieval of digits of the same class with 64-bit codes."""
    from sklinvariant import RBMHasher
    from sklinvariant.hashing import LSHHasher
    from sklinvariant.inspection import BitActivationDisplay
    from sklinvariant.metrics import exact_ranking, mean_average_precision

    X, X_test = _flat(digits.images), _flat(digits.test_images)
    hashers = [hasher(64, **digits.settings).fit(X) for hasher in (RBMHasher, LSHHasher)]
    scores = []
    for hasher in hashers:
        codes = hasher.transform(X_test), hasher.transform(X)
        ranking = exact_ranking(*codes, metric="hamming", n_neighbors=len(X))
        scores.append(mean_average_precision(ranking, digits.y_test[:, None] == digits.y))

    def draw(part):
        for axes in BitActivationDisplay.from_estimator(hashers[0], X_test, figure=part).axes_:
            axes.set_title("")

    return Row(
        "RBMHasher",
        "features",
        "64-bit codes",
        "mAP",
        scores[0],
        "LSHHasher",
        scores[1],
        draw,
        "mean average precision (mAP) of digits of the same class",
        "how often each bit is 1, and correlations of the bits",
    )


def clustering(digits: Any) -> Any:
    """Ten clusters. The classes are used only to compute the accuracy."""
    from sklearn.cluster import KMeans

    from sklinvariant import IICClusterer
    from sklinvariant.inspection import ClusterGalleryDisplay
    from sklinvariant.metrics import clustering_accuracy

    model = IICClusterer(10, **digits.settings).fit(digits.images)
    kmeans = KMeans(10, n_init=10, random_state=digits.seed).fit(_flat(digits.images))
    scores = [
        clustering_accuracy(digits.y_test, model.predict(digits.test_images)),
        clustering_accuracy(digits.y_test, kmeans.predict(_flat(digits.test_images))),
    ]

    def draw(part):
        display = ClusterGalleryDisplay.from_estimator(
            model, digits.test_images, y=digits.y_test, n_images=12, ax=part.subplots()
        )
        display.ax_.set_title("")

    made = "rotations and shifts", "10 clusters", "accuracy, no labels"
    return Row(
        "IICClusterer",
        *made,
        scores[0],
        "KMeans",
        scores[1],
        draw,
        "accuracy of clusters matched with classes, no labels",
        "test digits of each cluster",
    )


def few_labels(digits: Any) -> Any:
    """Many clusters, which 50 labels assign to classes."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from sklinvariant import IICClusterer
    from sklinvariant.cluster import OverclusteringClassifier
    from sklinvariant.inspection import SimplexDisplay

    few = _first_of_each(digits.y, 5)
    known = np.where(np.isin(np.arange(len(digits.y)), few), digits.y, -1)
    clusterer = IICClusterer(40, max_epochs=30, **digits.settings)
    model = OverclusteringClassifier(clusterer).fit(digits.images, known)
    alone = LogisticRegression(max_iter=1000).fit(_flat(digits.images)[few], digits.y[few])
    scores = model.score(digits.test_images, digits.y_test), alone.score(_flat(digits.test_images), digits.y_test)

    def draw(part):
        proba = model.predict_proba(digits.test_images)
        SimplexDisplay.from_predictions(proba, y=digits.y_test, ax=part.subplots()).ax_.set_title("")

    made = "views and 50 labels", "classes", "accuracy, 50 labels"
    return Row(
        "OverclusteringClassifier",
        *made,
        scores[0],
        "LogisticRegression",
        scores[1],
        draw,
        "test accuracy with 50 labels",
        "test digits between the corners of their classes",
    )


def segmentation(digits: Any) -> Any:
    """Segmentation of images that are covered with zeros in some regions and with ones in the others."""
    import numpy as np
    from sklearn.cluster import KMeans

    from sklinvariant.cluster import IICSegmenter
    from sklinvariant.inspection import SegmentationDisplay
    from sklinvariant.metrics import clustering_accuracy

    rng = np.random.RandomState(digits.seed)
    sheets, _ = _make_sheets(digits.images, digits.y, 16, rng)
    unseen, truth = _make_sheets(digits.test_images, digits.y_test, 6, rng)
    labels = IICSegmenter(2, **digits.settings).fit(sheets).predict(unseen)
    kmeans = KMeans(2, n_init=3, random_state=digits.seed).fit(sheets.reshape(-1, 1))
    of_kmeans = kmeans.predict(unseen.reshape(-1, 1)).reshape(truth.shape)
    scores = clustering_accuracy(truth, labels), clustering_accuracy(truth, of_kmeans)

    def draw(part):
        names = {0: "zeros", 1: "ones"}
        SegmentationDisplay.from_predictions(labels[:2], unseen[:2], truth[:2], class_names=names, figure=part)

    made = "neighbouring pixels", "one label per pixel", "accuracy, no labels"
    return Row(
        "IICSegmenter",
        *made,
        scores[0],
        "KMeans on pixels",
        scores[1],
        draw,
        "share of pixels in the right segment, no labels",
        "sheets of zeros and ones",
    )


def equivariance(digits: Any) -> Any:
    """Features learned from upright digits, evaluated on digits rotated by quarter turns."""
    import numpy as np
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from sklinvariant.autoencoder import EquivariantAutoencoder

    turns = np.random.RandomState(digits.seed).randint(4, size=len(digits.y_test))
    turned = np.stack([np.rot90(image, turn) for image, turn in zip(digits.test_images, turns, strict=True)])
    models, scores = [], []
    for group in ("C4", "trivial"):
        models.append(EquivariantAutoencoder(group=group, batch_size=32, max_epochs=10, **digits.settings))
        X, X_turned = models[-1].fit_transform(digits.images), models[-1].transform(turned)
        classifier = make_pipeline(StandardScaler(), _svm(digits)).fit(X, digits.y)
        scores.append(classifier.score(X_turned, digits.y_test))

    def draw(part):
        upright = models[0].inverse_transform(models[0].transform(turned[:6])).clip(0, 1)
        _tile(part, np.concatenate([turned[:6], upright]), 6, ["rotated", "upright"])

    made = "rotation group C4", "features and pose", "accuracy, rotated"
    return Row(
        "EquivariantAutoencoder",
        *made,
        scores[0],
        "autoencoder",
        scores[1],
        draw,
        "test accuracy on digits rotated by quarter turns",
        "rotated digits, reconstructed upright from their features",
    )


def _edges(digits):
    """Filters (32, 12, 12) learned from patches of two photographs, which show more than patches of digits do."""
    import numpy as np
    from sklearn.datasets import load_sample_images

    from sklinvariant.autoencoder import SparseAutoencoder
    from sklinvariant.feature_extraction import ConvolutionalFeatures

    images = np.stack(load_sample_images().images)[:, :426].mean(3) / 255  # (2, 426, 640)
    images = images.reshape(2, 213, 2, 320, 2).mean((2, 4)).astype(np.float32)
    units = SparseAutoencoder(32, **digits.settings)
    return ConvolutionalFeatures(units, patch_size=12, n_patches=20_000, **digits.settings).fit(images).filters_[..., 0]


def _svm(digits):
    from sklearn.svm import LinearSVC

    return LinearSVC(random_state=digits.seed)


def _few_labels_score(digits, transform):
    """Accuracy of a classifier that is fitted to ten labels per class, on the features that ``transform`` returns."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    few = _first_of_each(digits.y, 10)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(transform(digits.images[few]), digits.y[few]).score(transform(digits.test_images), digits.y_test)


def _first_of_each(y, count):
    import numpy as np

    return np.concatenate([np.flatnonzero(y == label)[:count] for label in np.unique(y)])


def _flat(images):
    return images.reshape(len(images), -1)


def _enlarge(images):
    """Enlarge three times, because rotating such small images loses too much detail."""
    import torch

    large = torch.nn.functional.interpolate(torch.tensor(images)[:, None], scale_factor=3, mode="bicubic")
    return large[:, 0].clamp(0, 1).numpy()


def _move(images, rng):
    """Images (n, 12, 12), each shifted by up to 1.4 pixels and rotated by up to 15 degrees."""
    import numpy as np

    from sklinvariant.transforms import Compose, Rotation, Translation

    drift = Compose([Rotation(15), Translation(0.12)], fill=0.0)
    params = drift.sample(len(images), int(rng.randint(2**31 - 1)))
    return drift.apply(np.pad(images, ((0, 0), (2, 2), (2, 2))), params)


def _make_sheets(images, y, n_sheets, rng):
    """Sheets (n_sheets, 48, 48) of 6 x 6 digits, zeros or ones, and the label 0 or 1 of each pixel.

    Each digit takes the label of the nearest of 4 random points.
    """
    import numpy as np

    places = np.stack(list(np.mgrid[:6, :6]), axis=-1)[None, :, :, None]  # (1, 6, 6, 1, 2)
    points = rng.uniform(0, 5, (n_sheets, 1, 1, 4, 2))
    kinds = (((places - points) ** 2).sum(-1).argmin(-1)) % 2  # (n_sheets, 6, 6)
    chosen = np.where(kinds == 0, *(rng.choice(np.flatnonzero(y == kind), kinds.shape) for kind in (0, 1)))
    sheets = images[chosen].transpose(0, 1, 3, 2, 4).reshape(n_sheets, 48, 48)
    return sheets, kinds.repeat(8, axis=1).repeat(8, axis=2)


def _tile(part, images, columns, names=()):
    """Images in rows, with a name beside each row."""
    import numpy as np

    from sklinvariant.inspection import mosaic

    axes = part.subplots()
    axes.imshow(mosaic(images, columns), cmap="gray")
    axes.spines[:].set_visible(False)
    height = images.shape[1]
    middles = np.arange(len(names)) * (height + 1) + (height - 1) / 2
    axes.set_xticks([])
    axes.set_yticks(middles, names, fontsize=10)
    axes.tick_params(length=0)


FAMILIES = {
    function.__name__.replace("_", "-"): function
    for function in (
        aggregation,
        features,
        nested,
        video,
        hashing,
        clustering,
        few_labels,
        segmentation,
        equivariance,
    )
}
