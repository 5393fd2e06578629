"""Quick instances of every public estimator, and data that each of them learns from."""

import copy
import pickle
import warnings

import numpy as np
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from sklinvariant import DescriptorSets, all_estimators, load, save, transforms
from sklinvariant.autoencoder import SparseAutoencoder
from sklinvariant.cluster import IICClusterer
from sklinvariant.feature_extraction import BackbonePatches
from sklinvariant.hashing import SignHasher
from sklinvariant.training import TrainedEstimator

ESTIMATORS = dict(all_estimators())
TRAINED = sorted(name for name, cls in ESTIMATORS.items() if issubclass(cls, TrainedEstimator))


def small_network(d):
    return torch.nn.Sequential(torch.nn.Linear(d, 4), torch.nn.Tanh())


def small_cnn():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    )


def _convolution():
    """A seeded convolution, initialised without torch's global generator."""
    module, generator = torch.nn.Conv2d(1, 2, 3, dtype=torch.float32, device="meta"), torch.Generator().manual_seed(0)
    module.to_empty(device="cpu")
    for weights in module.parameters():
        torch.nn.init.uniform_(weights, -1 / 3, 1 / 3, generator=generator)
    return module


# plain descent: Adam divides by the size of the gradient, so that a gradient of 0 becomes a walk along rounding
QUICK = {"max_epochs": 3, "learning_rate": 0.1, "weight_decay": 0.01, "optimizer": "sgd"}
INSTANCES = {
    "BagOfWords": [{"n_codewords": 2}, {"n_codewords": 2, "assignment": "soft"}],
    "VLAD": [{"n_codewords": 2}, {"n_codewords": 2, "assignment": "soft"}],
    "FisherVector": [{"n_components": 2}],
    "LearnedAggregation": [{"encoder": small_network, **QUICK, "weight_decay": 0.1}],
    "LearnedBoW": [
        {"n_codewords": 4, **QUICK},
        {"n_codewords": 8, "loss": "squared_error", **QUICK, "weight_decay": 1e-3},
    ],
    "LearnedVLAD": [{"n_codewords": 4, **QUICK}],
    "LearnedFisherVector": [{"n_components": 2, **QUICK}],
    "AutoPooling": [{"n_components": 2}, {"n_components": 2, "solver": "sgd", "max_epochs": 3}],
    "SlowFeatures": [{"n_components": 1}, {"n_components": 2, "degree": 2}],
    "RBMHasher": [{"n_bits": 4, "max_epochs": 2}],
    "NeighborHasher": [{"n_bits": 4, "max_epochs": 2}],
    "PCAHasher": [{"n_bits": 1}],
    "ITQHasher": [{"n_bits": 1}],
    "BilinearHasher": [{"n_bits": 1}],
    "DensePatches": [{"patch_size": 1}],
    "SparseAutoencoder": [{"n_components": 4, **QUICK}],
    "CanonicalRotation": [{"n_rotations": 8, "latent_channels": 2, "width": 2, "depth": 1, "max_epochs": 2}],
    "EquivariantAutoencoder": [  # rows are images one pixel high, which quarter turns do not fit
        {"latent_channels": 2, "width": 2, "depth": 1, "max_epochs": 2, "group": "D2", "pooling": pooling}
        for pooling in ("attention", "gram", "mean", None)
    ],
    "ConvolutionalFeatures": [
        {"extractor": KMeans(2), "patch_size": 1, "normalize": None},
        {"extractor": SparseAutoencoder(3, **QUICK), "patch_size": 1, "normalize": None, "whiten": False},
        {"extractor": PCA(1), "patch_size": 1, "normalize": None},
    ],
    "OverclusteringClassifier": [
        {"clusterer": KMeans(5, random_state=0), "unlabeled_value": None},  # the checks have a class -1
        {"clusterer": GaussianMixture(4, init_params="random_from_data", random_state=0), "unlabeled_value": None},
        {"clusterer": KMeans(5, random_state=0), "unlabeled_clusters": "prior", "unlabeled_value": None},
    ],
    "IICClassifier": [
        {
            "clusterer": IICClusterer(2, n_neighbors=4, n_heads=2, max_epochs=5, random_state=0),
            "unlabeled_value": None,  # the checks have a class -1
            "max_epochs": 20,
        }
    ],
    "OnDescriptors": [{"estimator": StandardScaler()}],
    "BackboneFeatures": [{"module": torch.nn.Identity()}],
    "BackbonePatches": [{"module": torch.nn.Identity()}],
    "LocalDescriptors": [{}, {"method": "daisy"}],
    "IICSegmenter": [{"n_clusters": 2, "half_window": 1, "width": 4, "max_epochs": 2}],
    "IICClusterer": [{"n_clusters": 2, "n_neighbors": 2, "n_heads": 3, "max_epochs": 30, "random_state": 0}],
    "ConsensusClusterer": [
        {"estimator": KMeans(4, n_init=1), "n_clusters": 2, "n_runs": 4},
        {"estimator": [KMeans(2, n_init=1), KMeans(3, n_init=1)], "n_clusters": 2, "n_runs": 2},
    ],
    "TEMIClusterer": [{"n_clusters": 2, "n_neighbors": 2, "n_heads": 2, "max_epochs": 30, "random_state": 0}],
    "TURTLEClusterer": [{"n_clusters": 2, "n_neighbors": 2, "n_heads": 2, "max_epochs": 30, "random_state": 0}],
    "EmbeddingNeighbors": [
        {"n_neighbors": 2},
        {"n_neighbors": 2, "rescore": "int8", "asymmetric": True, "n_rescored": 4},
    ],
    "QuantizedNeighbors": [{"n_neighbors": 2}, {"n_neighbors": 2, "n_bits": 1, "metric": "cosine"}],
    "HammingNeighbors": [{}, *({"index": kind} for kind in ("ivf", "hnsw", "multihash"))],
}

BAGS = {"BagOfWords", "VLAD", "FisherVector", "LearnedAggregation", "LearnedBoW", "LearnedVLAD", "LearnedFisherVector"}
BAGS |= {"GeMPooling", "OnDescriptors", "SecondOrderPooling"}
IMAGES = {
    "BackboneFeatures",
    "BackbonePatches",
    "CanonicalRotation",
    "ConvolutionalFeatures",
    "DensePatches",
    "EquivariantAutoencoder",
}
IMAGES |= {"IICSegmenter", "LocalDescriptors", "NestedInvariancePooler"}
TAKE_IMAGES = sorted(IMAGES | {"IICClusterer"})
CODES = {"HammingNeighbors"}
# settings that instances for rows of three numbers do not suit
_FOR_IMAGES = {
    "BackboneFeatures": {"module": _convolution()},
    "BackbonePatches": {"module": _convolution()},
    "ConvolutionalFeatures": {"extractor": KMeans(4, n_init=1, random_state=0), "patch_size": 3},
    "DensePatches": {"patch_size": 4},
    "NestedInvariancePooler": {
        "backbone": BackbonePatches(_convolution()),
        "transforms": {"rotation": transforms.Rotation(n_steps=4), "scale": transforms.Scale(n_steps=2)},
    },
}


def instances(name):
    """Unfitted estimators of that name, seeded, with settings that take well under a second."""
    for params in INSTANCES.get(name, [{}]):
        estimator = ESTIMATORS[name](**params)
        if "random_state" in estimator.get_params(deep=False):
            estimator.set_params(random_state=0)
        yield estimator


def example(name, seed=0):
    """(estimator, X, y): an unfitted estimator, and 24 samples of two classes of the kind that it expects.

    X holds bags (24, 6, 4), images (24, 12, 12) of float32 0-1, codes (24, 16) of 0 and 1, or rows (24, 6).
    """
    estimator = clone(next(instances(name)))
    if name in _FOR_IMAGES:
        estimator.set_params(**_FOR_IMAGES[name])
    rng, y = np.random.RandomState(seed), np.arange(24) % 2
    if name in BAGS:
        return estimator, rng.normal(size=(24, 6, 4)).astype(np.float32) + y[:, None, None], y
    if name in IMAGES:
        return estimator, (rng.rand(24, 12, 12) * (1 + y[:, None, None]) / 2).astype(np.float32), y
    if name in CODES:
        return estimator, rng.randint(2, size=(24, 16)).astype(np.uint8), y
    return estimator, np.abs(rng.normal(size=(24, 6)) + 2 * y[:, None]).astype(np.float32), y


def moment_hashers(n_bits, **other_bits):
    """The hashers that learn from moments of rows; ``other_bits`` are numbers of bits by the name of the hasher."""
    hashers = [SignHasher()]
    for name in ("LSHHasher", "SKLSHHasher", "PCAHasher", "ITQHasher", "SpectralHasher", "BilinearHasher"):
        hasher = ESTIMATORS[name](other_bits.get(name, n_bits))
        hashers.append(hasher.set_params(random_state=0) if "random_state" in hasher.get_params() else hasher)
    return hashers


def trained_example(name):
    """An estimator with four epochs, and its data."""
    estimator, X, y = example(name)
    if name == "IICSegmenter":  # the slowest
        X, y = X[:4], y[:4]
    known = estimator.get_params(deep=False)
    settings = {"max_epochs": 4, "solver": "sgd", "batch_size": max(4, len(X) // 3), "random_state": 0}
    estimator.set_params(**{key: value for key, value in settings.items() if key in known})
    if name == "IICClassifier":  # or the training of its clusterer would be interrupted
        estimator.set_params(clusterer=FrozenEstimator(clone(estimator.clusterer).fit(X)))
    return estimator, X, y


def losses(model):
    return np.array([row["loss"] for row in model.history_])


def image_example(name, dtype=np.float32):
    """An even quicker estimator of ``TAKE_IMAGES``, and 6 grey images (6, 12, 12): floats 0-1, or integers 0-255."""
    estimator = example(name)[0]
    if name == "IICClusterer":
        estimator.set_params(network="mlp", max_epochs=1, n_heads=1, init="random")
    if name in ("CanonicalRotation", "EquivariantAutoencoder"):
        estimator.set_params(max_epochs=1)
    images = example("DensePatches")[1][:6]
    return estimator, images if dtype == np.float32 else (images * 255).round().astype(dtype)


def answer_to_images(estimator, X):
    """The features of images, or their probabilities, as one array."""
    result = (estimator.transform if hasattr(estimator, "transform") else estimator.predict_proba)(X)
    return result.values if isinstance(result, DescriptorSets) else result


def answers(model, X):
    """The probabilities and the features of samples, where the model has them, as float64 arrays."""
    methods = [name for name in ("predict_proba", "transform") if hasattr(model, name)]
    return [np.asarray(getattr(model, name)(X), dtype=np.float64) for name in methods]


def saved_copies(model, path):
    """Copies of a fitted model by pickle, and by `save` and `load`, also with memory-mapped arrays."""
    save(model, path)
    return pickle.loads(pickle.dumps(model)), load(path), load(path, mmap_mode="r")


def with_state(model, **changes):
    """A copy of a fitted model in which entries of the state are replaced."""
    model = copy.copy(model)
    model._state = {**model._state, **changes}
    return model


def codeword_shares(bag, model):
    """Share (m, k) of each codeword of a BagOfWords or VLAD in each descriptor of a bag."""
    distances = ((bag[:, None] - model.codebook_) ** 2).sum(-1)
    if model.assignment == "hard":
        return np.eye(len(model.codebook_))[distances.argmin(1)]
    shares = np.exp(-model.gamma_ * distances)
    return shares / shares.sum(1, keepdims=True)


def blobs(seed=0, n=600):
    """n float64 rows (n, 3) around 4 centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = 6 * torch.randn(4, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (n,), generator=generator)
    return centres[labels] + torch.randn(n, 3, generator=generator, dtype=torch.float64)


GEOMETRIC_TRANSFORMS = [
    transforms.Rotation(),
    transforms.Rotation(30),
    transforms.Rotation(n_steps=8),
    transforms.Scale(),
    transforms.Scale(0.5, 1.8317, n_steps=3),
    transforms.Translation(),
    transforms.Flip("both"),
    transforms.Shear(),
    transforms.Shear(20, axis="both"),
    transforms.Crop(),
    transforms.Compose([transforms.Rotation(20), transforms.Scale(), transforms.Flip()]),
]
OTHER_TRANSFORMS = [
    transforms.ColorJitter(),
    transforms.GaussianNoise(),
    transforms.Sobel(),
    transforms.Compose([transforms.Flip(), transforms.ColorJitter(), transforms.Sobel()]),
]


def moving(n=40, h=48, w=64):
    """RGB frames of a bright bar that moves by 1 pixel per frame in front of a ramp."""
    frames = np.zeros((n, h, w, 3), np.uint8)
    frames[..., 0] = np.linspace(0, 200, h)[:, None]
    frames[..., 2] = np.linspace(0, 200, w)
    for t in range(n):
        frames[t, :, t : t + 6] = 255
    return frames


def recorded(stream):
    """All batches, and the messages of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return list(stream), [str(warning.message) for warning in caught]
