"""Learned for search, not for a classifier: a triplet loss.

An aggregation can be learned for any differentiable cost of its representation. Here LearnedVLAD descends in a triplet
loss (Schroff et al. 2015): a digit should be nearer to each digit of its class than to any other, by a margin. The
digits that are searched are not those that it learned from. Saves a picture.
"""

import sys

import matplotlib

matplotlib.use("Agg")
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
    """The mean over all triplets of each bag (the anchor) and two others of the batch: one number a bag."""
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
    # distances need steady representations: all descriptors of a bag, in each step
    LearnedVLAD(16, loss=triplet, descriptors_per_sample=None, max_epochs=0, random_state=0),
).fit(images, y)
learned = make_pipeline(*start[:-1], LearnedVLAD(**start[-1].get_params() | {"max_epochs": 20})).fit(images, y)

order = np.argsort(new_y, kind="stable")  # the digits of a class side by side
new_images, new_y = new_images[order], new_y[order]
same = new_y[:, None] == new_y
others = ~same
np.fill_diagonal(same, False)
figure, axes = plt.subplots(2, 2, figsize=(9, 7.5), height_ratios=(2, 5), layout="constrained")
models = {"from k-means": start, "learned by triplets": learned}
for (above, below), (name, model) in zip(axes.T, models.items(), strict=True):
    vectors = model.transform(new_images)
    precision = mean_average_precision(exact_ranking(vectors), same)
    print(f"16 codewords {name:<20} mean average precision on new digits {precision:.3f}")
    distances = pairwise_distances(vectors)
    for which, label, colour in ((same, "same digit", "tab:green"), (others, "different digits", "tab:red")):
        above.hist(distances[which], bins=np.linspace(0, 1.9, 60), density=True, alpha=0.5, color=colour, label=label)
    above.set(xlabel="distance of two new digits", yticks=[], xlim=(0, 1.9))
    above.set_title(f"16 codewords {name}\nmean average precision {precision:.2f}")
    above.legend(loc="upper left")
    drawn = below.imshow(distances, vmin=0.5, vmax=1.5, cmap="magma")
    middles = [np.flatnonzero(new_y == c).mean() for c in range(10)]
    below.set(xticks=middles, xticklabels=range(10), yticks=middles, yticklabels=range(10))
figure.colorbar(drawn, ax=axes[1], label="distance", shrink=0.8)
output = sys.argv[1] if len(sys.argv) > 1 else "triplet_loss.png"
figure.savefig(output, dpi=90)
print(f"picture: {output}")
