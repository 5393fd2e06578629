"""
Which pooling for my features?
==============================

A feature map has one vector for each position of an image. Before a linear classifier can use the map, it
must be pooled. This example compares the poolings that need no labels, by accuracy and by the number of
features they produce.
"""

# %%
# The features are distances to 48 typical patches of the digits. Only 300 images are labelled, and the test
# images are shifted by up to one pixel, as happens when digits are cut out of a form.

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sklinvariant import VLAD, ConvolutionalFeatures, GeMPooling, SecondOrderPooling, SpatialPooling
from sklinvariant.datasets import load_digits_images

images, y = load_digits_images(return_X_y=True)
shifts = np.random.default_rng(0).integers(-1, 2, size=(len(images), 2))
shifted = np.stack([np.roll(image, shift, axis=(0, 1)) for image, shift in zip(images, shifts, strict=True)])
extractor = MiniBatchKMeans(48, n_init=1, random_state=0)
features = ConvolutionalFeatures(extractor, patch_size=4, random_state=0).fit(images)
maps, test_maps = features.transform(images[:300]), features.transform(shifted[300:])
print(f"feature maps of shape {maps.shape[1:]}: {np.prod(maps.shape[1:])} numbers for each image")

# %%
# ``GeMPooling(order=1)`` is the mean and ``order=np.inf`` the maximum over all positions. ``SpatialPooling``
# keeps some of the layout. ``SecondOrderPooling`` computes products of features, and ``VLAD`` distances to
# codewords.

poolings = {
    "no pooling": StandardScaler(),
    "mean": GeMPooling(order=1),
    "maximum": GeMPooling(order=np.inf),
    "mean and maximum": make_union(GeMPooling(order=1), GeMPooling(order=np.inf)),
    "grid 2 × 2": SpatialPooling([(2, 2)]),
    "grid 3 × 3": SpatialPooling([(3, 3)]),
    "second order": SecondOrderPooling(),
    "VLAD": VLAD(8, random_state=0),
}
sizes, scores = {}, {}
for name, pooling in poolings.items():
    flat = name == "no pooling"
    train, test = (maps.reshape(300, -1), test_maps.reshape(len(test_maps), -1)) if flat else (maps, test_maps)
    model = make_pipeline(pooling, StandardScaler(), RidgeClassifierCV(np.logspace(-1, 4, 11))).fit(train, y[:300])
    sizes[name], scores[name] = model[-1].n_features_in_, model.score(test, y[300:])
    print(f"{name:<17} {sizes[name]:>5} features, accuracy {scores[name]:.3f}")

# %%
# Points at the upper left are best: accurate and short. The league of pooling in the benchmarks makes this
# comparison with more data.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
ax.scatter(list(sizes.values()), list(scores.values()), s=60, color="#0072B2")
for name in poolings:
    ax.annotate(name, (sizes[name], scores[name]), xytext=(7, 5), textcoords="offset points")
ax.set(xscale="log", xlabel="features for each image", ylabel="accuracy on shifted digits")
ax.set(xlim=(35, 4000), title="Poolings of the same feature maps, 300 labels")
plt.show()
