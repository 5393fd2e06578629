"""
Compare methods fairly: a small league
======================================

One data set and one seed prove little. This example compares methods as the benchmarks of this package do:
several data sets, several seeds, a baseline that learns nothing, splits that are the same for all methods,
and ranks beside the scores.
"""

# %%
# The task is to find the 10 nearest rows by codes of 24 bits. The queries are a fifth of the rows, which are
# split differently for each seed.

import numpy as np
from skimage.data import lfw_subset
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_image
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sklinvariant import ITQHasher, LSHHasher, NeighborHasher, PCAHasher
from sklinvariant.metrics import exact_ranking, mean_average_precision

patches = extract_patches_2d(load_sample_image("china.jpg"), (6, 6), max_patches=600, random_state=0)
data_sets = {
    "digits": load_digits().data[:600],
    "breast cancer": StandardScaler().fit_transform(load_breast_cancer().data),
    "faces": lfw_subset().reshape(200, -1),
    "patches": patches.reshape(600, -1) / 255,
}


def score(hasher, X, seed):
    """Mean average precision of the 10 nearest rows of each query."""
    database, queries = train_test_split(X, test_size=0.2, random_state=seed)
    hasher.fit(database)
    relevant = np.zeros((len(queries), len(database)), dtype=bool)
    np.put_along_axis(relevant, exact_ranking(queries, database, n_neighbors=10), True, axis=1)
    ranking = exact_ranking(hasher.transform(queries), hasher.transform(database), metric="hamming")
    return mean_average_precision(ranking, relevant)


# %%
# ``LSHHasher`` is the baseline: its projections are random. All methods have their default parameters. To
# tune some of them would need a validation set, and the same effort for all. The task is the one for which
# ``NeighborHasher`` is trained; a search for rows of the same class is another one, with other ranks.

hashers = {
    "NeighborHasher": lambda seed: NeighborHasher(24, random_state=seed),
    "ITQHasher": lambda seed: ITQHasher(24, random_state=seed),
    "PCAHasher": lambda seed: PCAHasher(24),
    "LSHHasher": lambda seed: LSHHasher(24, random_state=seed),
}
names, seeds = list(hashers), range(3)
scores = np.array([[[score(make(s), X, s) for s in seeds] for make in hashers.values()] for X in data_sets.values()])

# %%
# The rank of each method within each data set and seed, 1 is best. The difference to the baseline is paired:
# both saw the same split.

ranks = (-scores).argsort(axis=1).argsort(axis=1) + 1
difference = scores - scores[:, -1:]
for m, name in enumerate(names):
    wins = int((ranks[:, m] == 1).sum())
    print(
        f"{name:<15} mean rank {ranks[:, m].mean():.2f}, best in {wins:>2} of {ranks[:, m].size}, "
        f"{difference[:, m].mean():+.3f} to the baseline, worst {difference[:, m].min():+.3f}"
    )

# %%
# Every single score is drawn. If the points of two methods overlap, the league does not decide between them.

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, len(data_sets), figsize=(12, 3.4), layout="constrained", sharey=True)
for ax, (data_set, rows) in zip(axes, zip(data_sets, scores, strict=True), strict=True):
    for m, values in enumerate(rows):
        colour = "#777777" if names[m] == "LSHHasher" else "#0072B2"
        ax.plot(values, [m] * len(values), "o", color=colour, markersize=8, alpha=0.6)
    ax.set(title=data_set, yticks=range(len(names)), yticklabels=names, xlabel="mAP", xlim=(0, None))
    ax.grid(axis="x", alpha=0.3)
axes[0].invert_yaxis()
figure.suptitle("Precision of codes of 24 bits, three seeds (grey: baseline)")
plt.show()
