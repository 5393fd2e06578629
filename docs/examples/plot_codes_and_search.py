"""
Search with compact codes, then rank by vectors
===============================================

A search among millions of embeddings is limited by memory. Binary codes are much smaller: 64 bits are 8
bytes, and a vector of 64 floats has 256. ``EmbeddingNeighbors`` finds candidates by their codes, and ranks
only these by the vectors, which can stay in a file.
"""

# %%
# The vectors: 20,000 patches of photographs, described by 64 coefficients of a PCA. 300 of them are the
# queries.

import tempfile
from pathlib import Path

import numpy as np
from skimage import data
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d

from sklinvariant.metrics import exact_ranking

photographs = [*load_sample_images().images, data.astronaut(), data.chelsea(), data.coffee()]
patches = np.concatenate(
    [extract_patches_2d(image, (12, 12), max_patches=4000, random_state=0) for image in photographs]
)
patches = np.random.default_rng(0).permutation(patches.reshape(len(patches), -1)).astype(np.float32)
vectors = PCA(64, random_state=0).fit_transform(patches)
queries, stored = vectors[:300], vectors[300:]
nearest = exact_ranking(queries, stored, n_neighbors=10)


def recall(rows):
    """Share of the ten nearest vectors of each query that were found."""
    return np.mean([np.isin(true, found).mean() for found, true in zip(rows, nearest, strict=True)])


# %%
# First the codes alone: are the ten nearest vectors among the codes that are nearest? ``NeighborHasher``
# learns codes on which neighbours agree, ``ITQHasher`` rotates principal components, and ``LSHHasher`` learns
# nothing. Which one is best depends on the vectors, so compare.

from sklinvariant import HammingNeighbors, ITQHasher, LSHHasher, NeighborHasher

hashers = {
    "NeighborHasher": NeighborHasher(64, random_state=0),
    "ITQHasher": ITQHasher(64, random_state=0),
    "LSHHasher": LSHHasher(64, random_state=0),
}
lengths = [10, 30, 100, 300, 1000]
curves = {}
for name, hasher in hashers.items():
    index = HammingNeighbors().fit(hasher.fit(stored).transform(stored))
    rows = index.kneighbors(hasher.transform(queries), n_neighbors=max(lengths), return_distance=False)
    curves[name] = [recall(rows[:, :length]) for length in lengths]
    print(f"{name:<15} {curves[name][0]:.2f} among the first 10 codes, {curves[name][-1]:.2f} among the first 1,000")

# %%
# The codes alone miss many neighbours, but the candidates contain almost all of them. ``EmbeddingNeighbors``
# ranks the candidates by the vectors, here in a file of 16-bit floats that is memory-mapped.

from sklinvariant import EmbeddingNeighbors

folder = tempfile.TemporaryDirectory()
file = Path(folder.name, "vectors.npy")
search = EmbeddingNeighbors(10, hasher=hashers["NeighborHasher"], n_candidates=300, vectors=file)
found = search.fit(stored).kneighbors(queries, return_distance=False)
print(f"after ranking 300 candidates by their vectors: {recall(found):.2f}")
folder.cleanup()

# %%

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for (name, values), colour, marker in zip(curves.items(), ("#0072B2", "#E69F00", "#777777"), "osD", strict=True):
    ax.plot(lengths, values, color=colour, marker=marker, linewidth=2, label=name)
ax.plot(10, recall(found), "*", markersize=18, color="#D55E00", label="300 candidates,\nranked by vectors")
ax.set(xscale="log", xticks=lengths, xticklabels=lengths, ylim=(0, 1.05))
ax.set(xlabel="number of codes returned", ylabel="share of the 10 nearest vectors found")
ax.minorticks_off()
ax.set_title("Codes of 64 bits among 19,700 vectors")
figure.legend(loc="outside right upper")
plt.show()
