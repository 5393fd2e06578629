"""Segmentation without labels in the league.

The score is the accuracy in % of the pixels, with clusters matched one to one with classes; pixels of no class are
segmented but not counted. Labels are used for nothing else. A set is images of 48 to 64 pixels, 30 of them for most
sets, and the number of classes. Images that are segmented are those of the training, except for the sets whose name
contains "→". The JSON also contains the adjusted Rand index.

- Streets are sequences of CamVid with the classes sky, road and pavement, buildings, vegetation.
- Mosaics are composed of pieces of photographs (BSDS500): pieces of a class come from one region of one photograph.
- Digits and clothes are cut out of one such region and lie on another one.
- ETH-80 are photographs of objects of four categories, with the classes object and background.
- Synthetic textures have the same distribution of grey values (`make_textures`).

The alternatives cluster the features of pixels, each divided by its standard deviation: "pixels" are the colours, "log
pixels" their logarithms, "row" and "position" are coordinates, and "local statistics" are the mean and the standard
deviation of the colours and the mean length of the gradient around a pixel. k-means has 5 starts and mixtures have 2.
Superpixels are those of SLIC.
"""

import functools
import zipfile
from dataclasses import dataclass

import numpy as np
from league_sets import Family, from_files
from scipy import ndimage
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from sklinvariant import IICSegmenter
from sklinvariant.datasets import make_textures
from sklinvariant.metrics import clustering_accuracy

VOID = -1
MERGED = {0: 0, 3: 1, 4: 1, 1: 2, 5: 3}  # classes of CamVid: sky, road and pavement, buildings, vegetation
N_IMAGES = 30
MOST_PIXELS = 50_000  # that k-means and mixtures are fitted to


@dataclass
class Scenes:
    """Images (n, h, w[, c]) to train on, images to segment, and their classes (m, h, w)."""

    train: np.ndarray
    images: np.ndarray
    truth: np.ndarray

    @property
    def n_classes(self):
        return int(self.truth.max()) + 1


def own(load):
    """A set whose images are segmented after training on them."""

    def loaded(data, cache):
        images, truth = load(data, cache)
        return Scenes(images, images, truth)

    return needing_files(loaded, load)


def unseen(load, load_unseen):
    """A set with other images than those of the training."""

    def loaded(data, cache):
        return Scenes(load(data, cache)[0], *load_unseen(data, cache))

    return needing_files(loaded, load)


def needing_files(loaded, load):
    if hasattr(load, "needs_files"):
        loaded.needs_files = True
    return loaded


def synthetic(n_textures, seed):
    return own(lambda data, cache: make_textures(24, n_textures=n_textures, random_state=seed))


def streets(data, sequence):
    """30 evenly spaced frames of a sequence, (30, 48, 64, 3), and their classes."""
    import cv2

    merged = np.full(256, VOID)
    merged[list(MERGED)] = list(MERGED.values())
    with zipfile.ZipFile(data / "camvid_240x180.zip") as archive:
        files = sorted(name for name in archive.namelist() if f"/{sequence}" in name and "annot/" not in name)
        files = [files[i] for i in np.linspace(0, len(files) - 1, N_IMAGES).astype(int)]
        images = [decode(archive, name) for name in files]
        labels = [decode(archive, name.replace("/", "annot/").replace(".jpg", ".png"), grey=True) for name in files]
    images = [cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA) for image in images]
    labels = [cv2.resize(label, (64, 48), interpolation=cv2.INTER_NEAREST) for label in labels]
    return np.stack(images), merged[np.stack(labels)]


def decode(archive, name, grey=False):
    import cv2

    encoded = np.frombuffer(archive.read(name), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if grey else cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


def objects(data, categories):
    """30 photographs of ETH-80, (30, 64, 64, 3), with the classes background and object."""
    import cv2

    with zipfile.ZipFile(data / "eth80_128.zip") as archive:
        names = (name for name in archive.namelist() if name.endswith(".jpg"))
        names = [name for name in names if name.split("/")[1] in categories.split()]
        names = [names[i] for i in np.linspace(0, len(names) - 1, N_IMAGES).astype(int)]
        images = [cv2.resize(decode(archive, name), (64, 64), interpolation=cv2.INTER_AREA) for name in names]
        masks = [
            decode(archive, name.replace("images/", "masks/").replace(".jpg", ".png"), grey=True) for name in names
        ]
    masks = [cv2.resize(mask, (64, 64), interpolation=cv2.INTER_NEAREST) for mask in masks]
    return np.stack(images), (np.stack(masks) > 127).astype(int)


def regions(data, split, n, seed):
    """Windows (m, 64, 64, 3) of n colour photographs, each inside one region of a human segmentation."""
    with zipfile.ZipFile(data / "bsds500_256.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(f"images/{split}/"))
        found = []
        for i in np.random.RandomState(seed).permutation(len(names)):
            image = decode(archive, names[i])
            number = names[i].split("/")[-1].removesuffix(".jpg")
            labels = decode(archive, f"groundTruth/{split}/{number}_0.png", grey=True)
            windows = windows_inside(image, labels == np.bincount(labels.ravel()).argmax())
            found += [windows] if len(windows) >= 50 and windows.std(-1).mean() > 5 else []
            if len(found) == n:
                return found
    raise ValueError(f"fewer than {n} colour photographs of {split} have a large region")


def windows_inside(image, region, size=64):
    """All windows on a grid with a step of 4 pixels whose pixels belong to the region, but for 2 %."""
    inside = np.lib.stride_tricks.sliding_window_view(region, (size, size))[::4, ::4].mean((2, 3)) > 0.98
    return np.array([image[4 * i : 4 * i + size, 4 * j : 4 * j + size] for i, j in np.argwhere(inside)])


def mosaics(data, split, n_classes, seed, grey=False):
    """30 images of pieces of photographs, (30, 64, 64[, 3]). Sizes of the classes differ by up to a factor of 4."""
    rng = np.random.RandomState(seed)
    windows = regions(data, split, n_classes, seed)
    shares = np.geomspace(4, 1, n_classes) / np.geomspace(4, 1, n_classes).sum()
    places = np.stack(np.mgrid[:64, :64], -1)
    points = rng.uniform(0, 64, (N_IMAGES, 6, 2))
    pieces = [((places[:, :, None] - one) ** 2).sum(-1).argmin(-1) for one in points]
    truth = np.stack([rng.choice(n_classes, 6, p=shares)[piece] for piece in pieces])
    images = filled(truth, windows, rng)
    return (images.mean(-1).round().astype(np.uint8) if grey else images), truth


def filled(truth, windows, rng):
    """Images in which each class shows one of its windows at random."""
    images = np.zeros((*truth.shape, 3), np.uint8)
    for label, some in enumerate(windows):
        chosen = some[rng.randint(len(some), size=len(truth))]
        images = np.where((truth == label)[..., None], chosen, images)
    return images


def shapes(data, name, split, seed):
    """30 images (64, 64, 3) of one large MNIST digit or garment, of one region of a photograph on another one."""
    import cv2

    rng = np.random.RandomState(seed)
    with np.load(data / f"{name}.npz") as file:
        small = file["x_train"][rng.permutation(10_000)[:N_IMAGES]]
    large = np.stack([cv2.resize(image, (56, 56), interpolation=cv2.INTER_LINEAR) for image in small])
    truth = np.zeros((N_IMAGES, 64, 64), int)
    for mask, image in zip(truth, large, strict=True):
        top, left = rng.randint(9, size=2)
        mask[top : top + 56, left : left + 56] = image > 100
    return filled(truth, regions(data, split, 2, seed), rng), truth


def segmenter(make):
    """A method; ``make(images, k, seed)`` returns a function that segments images."""

    def method(scenes, seed):
        labels = make(scenes.train, scenes.n_classes, seed)(scenes.images)
        known = scenes.truth != VOID
        return {
            "accuracy": 100 * clustering_accuracy(scenes.truth, labels, ignore_label=VOID),
            "adjusted Rand index": 100 * adjusted_rand_score(scenes.truth[known], labels[known]),
        }

    return method


def iic(**settings):
    return segmenter(lambda images, k, seed: IICSegmenter(k, random_state=seed, **settings).fit(images).predict)


def scaled(images):
    """Colours (n, h, w, c) between 0 and 1."""
    images = images / 255 if images.dtype == np.uint8 else images
    return images.reshape(*images.shape[:3], -1).astype(np.float32)


def pixels(images):
    return scaled(images)


def log_pixels(images):
    return np.log(scaled(images) + 0.03)


def with_row(features):
    return lambda images: np.concatenate([features(images), coordinates(images)[..., :1]], -1)


def with_position(features):
    return lambda images: np.concatenate([features(images), coordinates(images)], -1)


def coordinates(images):
    n, h, w = images.shape[:3]
    both = np.stack(np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing="ij"), -1)
    return np.broadcast_to(both.astype(np.float32), (n, h, w, 2))


def local_statistics(images, sigma=2.0):
    """Mean and standard deviation of the colours around a pixel, and the mean length of their gradients."""
    colours = scaled(images)
    smooth = functools.partial(ndimage.gaussian_filter, sigma=(0, sigma, sigma, 0))
    mean = smooth(colours)
    deviation = np.sqrt(np.maximum(smooth(colours**2) - mean**2, 0))
    gradient = np.hypot(ndimage.sobel(colours, axis=1), ndimage.sobel(colours, axis=2))
    return np.concatenate([mean, deviation, smooth(gradient)], -1)


def clustered(features, make_model):
    """Segments by clustering the features of pixels, each divided by its standard deviation."""

    def make(images, k, seed):
        X = features(images).reshape(-1, features(images[:1]).shape[-1])
        scale = X.std(0) + 1e-6
        X = X / scale
        chosen = np.random.RandomState(seed).permutation(len(X))[:MOST_PIXELS]
        model = make_model(k, seed).fit(X[chosen])

        def predict(images):
            Z = features(images) / scale
            return model.predict(Z.reshape(-1, Z.shape[-1])).reshape(Z.shape[:3])

        return predict

    return segmenter(make)


def kmeans(k, seed):
    return KMeans(k, n_init=5, random_state=seed)


def mixture(k, seed):
    return GaussianMixture(k, n_init=2, reg_covar=1e-4, random_state=seed)


def superpixel_colours(images):
    """The mean colour of the superpixel of each pixel."""
    from skimage.segmentation import slic

    def means(image):
        labels = slic(image, n_segments=60, compactness=10, start_label=0, channel_axis=-1)
        index = np.arange(labels.max() + 1)
        return np.stack([ndimage.mean(channel, labels, index) for channel in np.moveaxis(image, -1, 0)], -1)[labels]

    return np.stack([means(image) for image in scaled(images)])


def from_streets(sequence):
    return from_files(streets, sequence=sequence)


SEGMENTATION = Family(
    "segmentation",
    "accuracy, %",
    development={
        "synthetic textures": synthetic(4, 0),
        "streets 0016E5": own(from_streets("0016E5")),
        "streets 0001TP": own(from_streets("0001TP")),
        "streets 0016E5 → 0001TP": unseen(from_streets("0016E5"), from_streets("0001TP")),
        "mosaics": own(from_files(mosaics, split="train", n_classes=5, seed=0)),
        "grey mosaics": own(from_files(mosaics, split="train", n_classes=4, seed=4, grey=True)),
        "digits on photographs": own(from_files(shapes, name="mnist", split="train", seed=1)),
        "ETH-80 apple car cow cup": own(from_files(objects, categories="apple car cow cup")),
    },
    evaluation={
        "streets Seq05VD": own(from_streets("Seq05VD")),
        "streets 0006R0 → Seq05VD": unseen(from_streets("0006R0"), from_streets("Seq05VD")),
        "mosaics of others": own(from_files(mosaics, split="test", n_classes=5, seed=2)),
        "grey mosaics of others": own(from_files(mosaics, split="test", n_classes=4, seed=5, grey=True)),
        "clothes on photographs": own(from_files(shapes, name="fashion_mnist", split="test", seed=3)),
        "ETH-80 dog horse pear tomato": own(from_files(objects, categories="dog horse pear tomato")),
    },
    methods={
        "ours: IICSegmenter, default settings": iic(),
        "ours, earlier defaults (random heads, 20 epochs)": iic(init="random", max_epochs=20),
        "k-means, pixels": clustered(pixels, kmeans),
        "k-means, pixels + row": clustered(with_row(pixels), kmeans),
        "k-means, pixels + position": clustered(with_position(pixels), kmeans),
        "k-means, local statistics": clustered(local_statistics, kmeans),
        "k-means, local statistics + row": clustered(with_row(local_statistics), kmeans),
        "k-means, superpixels": clustered(superpixel_colours, kmeans),
        "Gaussian mixture, pixels": clustered(pixels, mixture),
        "Gaussian mixture, pixels + row": clustered(with_row(pixels), mixture),
        "Gaussian mixture, log pixels + row": clustered(with_row(log_pixels), mixture),
        "Gaussian mixture, local statistics": clustered(local_statistics, mixture),
    },
    earlier="ours, earlier defaults (random heads, 20 epochs)",
)
