"""
Learning an aggregation for retrieval with a triplet loss
=========================================================

An aggregation can be learned with any differentiable loss of its representation. In this example, LearnedVLAD minimises
a triplet loss (Schroff et al. 2015): each digit should be nearer to the digits of its class than to all others, by a
margin. The figure shows the distances between held-out digits before and after training.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from sklinvariant import LearnedVLAD
from sklinvariant.datasets import load_digits_images
from sklinvariant.feature_extraction import DensePatches, OnDescriptors
from sklinvariant.metrics import exact_ranking, mean_average_precision


def triplet(representation, y, margin=0.3):
    """Mean loss of all triplets in the batch for each bag as the anchor: one number per bag."""
    far = torch.cdist(representation, representation)
    same = y[:, None] == y
    costs = torch.relu(margin + far[:, :, None] - far[:, None, :])  # (anchor, positive, negative)
    triplets = same[:, :, None] & ~same[:, None, :]
    return (costs * triplets).sum((1, 2)) / triplets.sum((1, 2)).clamp(min=1)


digits = load_digits_images()
images, new_images, y, new_y = train_test_split(digits.images, digits.target, test_size=0.4, random_state=0)
start = make_pipeline(
    DensePatches(4, stride=1),
    OnDescriptors(PCA(8, random_state=0)),
    # distances need stable representations: use all descriptors of a bag in each step
    LearnedVLAD(16, loss=triplet, descriptors_per_sample=None, max_epochs=0, random_state=0),
).fit(images, y)
learned = make_pipeline(*start[:-1], LearnedVLAD(**start[-1].get_params() | {"max_epochs": 20})).fit(images, y)

order = np.argsort(new_y, kind="stable")  # group the digits by class
new_images, new_y = new_images[order], new_y[order]
same = new_y[:, None] == new_y
others = ~same
np.fill_diagonal(same, False)
figure, axes = plt.subplots(2, 2, figsize=(9, 7.5), height_ratios=(2, 5), layout="constrained")
models = {"of k-means": start, "learned with triplets": learned}
for (above, below), (name, model) in zip(axes.T, models.items(), strict=True):
    vectors = model.transform(new_images)
    precision = mean_average_precision(exact_ranking(vectors), same)
    print(f"16 codewords {name:<22} mean average precision on held-out digits {precision:.3f}")
    distances = pairwise_distances(vectors)
    for which, label, colour in ((same, "same digit", "#0072B2"), (others, "different digits", "#D55E00")):
        above.hist(distances[which], bins=np.linspace(0, 1.9, 60), density=True, alpha=0.5, color=colour, label=label)
    above.set(xlabel="distance between two held-out digits", yticks=[], xlim=(0, 1.9))
    above.set_title(f"16 codewords {name}\nmean average precision {precision:.2f}")
    above.legend(loc="upper left")
    drawn = below.imshow(distances, vmin=0.5, vmax=1.5, cmap="magma")
    middles = [np.flatnonzero(new_y == c).mean() for c in range(10)]
    below.set(xticks=middles, xticklabels=range(10), yticks=middles, yticklabels=range(10))
figure.colorbar(drawn, ax=axes[1], label="distance", shrink=0.8)
plt.show()
