"""
Which pooling for my features?
==============================

A network or another extractor gives you a feature map: one vector for each position of an image. Before a linear
classifier can use the map, you must pool it. This example compares poolings that need no labels, by accuracy and by
the number of features that they produce.
"""

# %%
# The features are distances to 48 typical patches of the digits. Only 300 images are labelled, and the test images
# are shifted by up to one pixel, as happens when digits are cut out of a form.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklinvariant import VLAD, ConvolutionalFeatures, GeMPooling, SecondOrderPooling, SpatialPooling
from sklinvariant.datasets import load_digits_images
from sklinvariant.transforms import Translation

images, y = load_digits_images(return_X_y=True)
shifted = Translation(1 / 8)(images, generator=0)
extractor = MiniBatchKMeans(48, n_init=1, random_state=0)
features = ConvolutionalFeatures(extractor, patch_size=4, random_state=0).fit(images)
maps, test_maps = features.transform(images[:300]), features.transform(shifted[300:])

# %%
# ``GeMPooling(order=1)`` is the mean and ``order=np.inf`` the maximum over all positions. ``SpatialPooling`` keeps
# some of the layout. ``SecondOrderPooling`` computes products of features, and ``VLAD`` differences to codewords.

poolings = {
    "no pooling": FunctionTransformer(lambda maps: maps.reshape(len(maps), -1)),
    "mean": GeMPooling(order=1),
    "maximum": GeMPooling(order=np.inf),
    "grid 2 × 2": SpatialPooling([(2, 2)]),
    "second order": SecondOrderPooling(),
    "VLAD": VLAD(8, random_state=0),
}
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for name, pooling in poolings.items():
    model = make_pipeline(pooling, StandardScaler(), RidgeClassifierCV(np.logspace(-1, 4, 11))).fit(maps, y[:300])
    size, accuracy = model[-1].n_features_in_, model.score(test_maps, y[300:])
    print(f"{name:<12} {size:>5} features, accuracy {accuracy:.3f}")
    ax.plot(size, accuracy, "o", color="C0")
    ax.annotate(name, (size, accuracy), xytext=(8, -4), textcoords="offset points")
ax.set(xscale="log", xlim=(35, 4000), xlabel="features for each image", ylabel="accuracy on shifted digits")
ax.set_title("Poolings of the same feature maps")
plt.show()

# %%
# Points at the upper left are best: accurate and short. ``SecondOrderPooling`` is the most accurate (0.83), and
# ``VLAD`` comes close (0.82) with a third of its features. The maximum is much shorter than both, and still better
# (0.72) than all 1,200 numbers without pooling (0.61), which change when the digit is shifted.
