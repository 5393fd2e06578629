"""
Retrieval of rotated digits with invariant codes
================================================

A network gives different features for a digit and its rotated copy. Nested invariance pooling over rotations
and scales makes the features invariant, and with them the binary codes computed from them (Morère et al.
2016). The filters of the network are typical patches of the digits, so no pretrained weights are needed. The
figure shows the results for four rotated digits, with and without pooling over rotations and scales.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from sklinvariant import NestedInvariancePooler, RBMHasher
from sklinvariant.aggregation import BagOfWords
from sklinvariant.datasets import load_digits_images
from sklinvariant.feature_extraction import ConvolutionalFeatures
from sklinvariant.inspection import BitActivationDisplay, RetrievalDisplay
from sklinvariant.neighbors import HammingNeighbors
from sklinvariant.transforms import Rotation, Scale, warp

digits = load_digits_images()
images = torch.nn.functional.interpolate(torch.tensor(digits.images[:200])[:, None], scale_factor=3, mode="bicubic")
images, labels = images[:, 0].clamp(0, 1).numpy(), digits.target[:200]
network = ConvolutionalFeatures(
    BagOfWords(96), patch_size=6, stride=2, pool=2, contrast_eps=0.1, whitening_eps=0.01, random_state=0
).fit(images)

# %%
# The same network, pooled over the cells of its feature map only, and also over scales and rotations
orbits = {"rotation": Rotation(n_steps=24), "scale": Scale(n_steps=4)}
poolings = {
    "cells": NestedInvariancePooler(network, stages=[("translation", 2)]),
    "cells, scales, rotations": NestedInvariancePooler(network, transforms=orbits, fill="edge"),
}
# %%
# Codes of 64 bits are learned from the features of each pooling, and searched with rotated digits.

queries = [3, 10, 24, 41]
angles = [[90], [180], [60], [-30]]
rotated = warp(images[queries], np.concatenate([Rotation().matrix([a]) for a in angles]), fill="edge")
whole = plt.figure(figsize=(13, 8), layout="constrained")
above, below = whole.subfigures(2, 1, height_ratios=(5, 3))
figures = above.subfigures(1, 2)
for figure, (name, pooler) in zip(figures, poolings.items(), strict=True):
    features = pooler.fit_transform(images)
    hasher = RBMHasher(64, max_epochs=100, random_state=0).fit(features)
    search = HammingNeighbors(6).fit(hasher.transform(features))
    codes = hasher.transform(pooler.transform(warp(images[:40], Rotation().matrix([[60]] * 40), fill="edge")))
    first = search.kneighbors(codes, n_neighbors=1, return_distance=False)[:, 0]
    print(
        f"{name}: {np.mean(first == np.arange(40)):.0%} of 40 digits, rotated by 60 degrees, find their original first"
    )
    RetrievalDisplay.from_estimator(
        search,
        hasher.transform(pooler.transform(rotated)),
        rotated,
        images,
        y=labels[queries],
        y_database=labels,
        n_neighbors=6,
        figure=figure,
    )
    figure.suptitle(f"64-bit codes, pooled over {name}")

BitActivationDisplay.from_estimator(hasher, features, name="RBMHasher", figure=below)
plt.show()
