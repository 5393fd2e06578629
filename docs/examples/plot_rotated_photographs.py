"""
Find a photograph although it was rotated
=========================================

A database contains photographs in one orientation. A user searches with a photograph that was taken at
another angle. Features of a network change with the angle, and the search fails. ``NestedInvariancePooler``
pools the features over rotations of the image, so that they no longer depend on the angle.
"""

# %%
# The database: 80 views of eight photographs of scikit-image and scikit-learn, without any preparation. The
# queries are the same views at random angles.

import numpy as np
from skimage import data
from skimage.transform import resize
from sklearn.datasets import load_sample_images

from sklinvariant.transforms import Rotation

photographs = [*load_sample_images().images]
photographs += [
    data.astronaut(),
    data.chelsea(),
    data.coffee(),
    data.rocket(),
    data.retina(),
    data.immunohistochemistry(),
]
rng = np.random.default_rng(0)


def cut(photograph, size=160):
    """A view of the photograph, reduced to 48 × 48 pixels."""
    top, left = (rng.integers(side - size) for side in photograph.shape[:2])
    return resize(photograph[top : top + size, left : left + size], (48, 48), anti_aliasing=True).astype(np.float32)


database = np.stack([cut(photograph) for photograph in photographs for _ in range(10)])
angles = rng.uniform(0, 360, (len(database), 1))
queries = Rotation(fill="reflect").apply(database, angles)

# %%
# The network is learned from the database itself: 64 typical patches. Any pretrained network can take its
# place, for instance ``backbone="timm:resnet18"``. The pooler is compared with the mean and the maximum over
# the positions of the feature map.

from sklearn.cluster import MiniBatchKMeans
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklinvariant import ConvolutionalFeatures, NestedInvariancePooler

extractor = MiniBatchKMeans(64, n_init=1, random_state=0)
network = ConvolutionalFeatures(extractor, stride=2, random_state=0).fit(database)
rotations = {"rotation": Rotation(n_steps=12)}
poolings = {
    "mean": NestedInvariancePooler(network, stages=[("translation", 1)]),
    "maximum": NestedInvariancePooler(network, stages=[("translation", np.inf)]),
    "nested, 12 rotations": NestedInvariancePooler(
        network, stages=[("translation", 2), ("rotation", 1)], transforms=rotations, fill="reflect"
    ),
}

# %%
# A query counts as found if its own view is the first of all 80. Centring the features on the database helps
# all methods.

from sklearn.neighbors import NearestNeighbors

first = {}
for name, pooling in poolings.items():
    features = make_pipeline(pooling, StandardScaler(with_std=False), Normalizer()).fit(database)
    search = NearestNeighbors(n_neighbors=1).fit(features.transform(database))
    first[name] = search.kneighbors(features.transform(queries), return_distance=False)[:, 0]
    found = np.mean(first[name] == np.arange(len(database)))
    print(f"{name:<21} {found:.0%} of the rotated photographs found")

# %%
# One query from each photograph, and what each method finds first. A green frame marks the right view.

import matplotlib.pyplot as plt

shown = range(0, len(database), 10)
figure, axes = plt.subplots(len(poolings) + 1, len(shown), figsize=(10, 5.6), layout="constrained")
for column, i in enumerate(shown):
    axes[0, column].imshow(queries[i].clip(0, 1))
    for row, name in enumerate(poolings, start=1):
        axes[row, column].imshow(database[first[name][i]])
        right = first[name][i] == i
        axes[row, column].spines[:].set(color="#009E73" if right else "#D55E00", linewidth=4)
for row, name in enumerate(["query", *poolings]):
    axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.setp(axes, xticks=[], yticks=[])
figure.suptitle("Rotated queries and the first result of each pooling (green frame: right, orange: wrong)")
plt.show()
