"""
Search with compact codes, then rank by vectors
===============================================

A search among millions of embeddings is limited by memory. Binary codes are much smaller: 64 bits are 8 bytes, and a
vector of 64 floats has 256. How many of the nearest vectors do the codes find?
"""

# %%
# The vectors: 20,000 patches of photographs, described by 64 coefficients of a PCA. 300 of them are the queries.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d

from sklinvariant import EmbeddingNeighbors, HammingNeighbors, ITQHasher, LSHHasher, NeighborHasher
from sklinvariant.metrics import exact_ranking, recall_at_k

photographs = [*load_sample_images().images, data.astronaut(), data.chelsea(), data.coffee()]
patches = [extract_patches_2d(image, (12, 12), max_patches=4000, random_state=0) for image in photographs]
patches = np.random.default_rng(0).permutation(np.concatenate(patches).reshape(20_000, -1))
vectors = PCA(64, random_state=0).fit_transform(patches.astype(np.float32))
queries, stored = vectors[:300], vectors[300:]
nearest = exact_ranking(queries, stored, n_neighbors=10)

# %%
# ``NeighborHasher`` learns codes on which neighbours agree, ``ITQHasher`` rotates principal components, ``LSHHasher``
# learns nothing. Which one is best depends on the vectors, so compare. With the best one, ``EmbeddingNeighbors`` takes
# 300 codes as candidates, and ranks only these by their vectors, which can stay in a file (``vectors="vectors.npy"``).

plt.style.use("tableau-colorblind10")
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
lengths = [10, 30, 100, 300, 1000]
for hasher in (NeighborHasher(64, random_state=0), LSHHasher(64, random_state=0), ITQHasher(64, random_state=0)):
    index = HammingNeighbors(1000).fit(hasher.fit(stored).transform(stored))
    found = index.kneighbors(hasher.transform(queries), return_distance=False)
    recalls = [recall_at_k(found, nearest, k=length) for length in lengths]
    name = type(hasher).__name__
    print(f"{name:<15} {recalls[0]:.2f} among the first 10 codes, {recalls[-1]:.2f} among the first 1,000")
    ax.plot(lengths, recalls, "o-", label=name)

search = EmbeddingNeighbors(10, hasher=NeighborHasher(64, random_state=0), n_candidates=300).fit(stored)
recall = recall_at_k(search.kneighbors(queries, return_distance=False), nearest, k=10)
print(f"300 candidates, ranked by their vectors: {recall:.2f}")

ax.plot(10, recall, "*", markersize=18, label="NeighborHasher,\n300 candidates ranked\nby their vectors")
ax.set(xscale="log", xticks=lengths, xticklabels=lengths, ylim=(0, 1.05), title="Codes of 64 bits among 19,700 vectors")
ax.set(xlabel="number of codes returned", ylabel="share of the 10 nearest vectors found")
figure.legend(loc="outside right upper")
plt.show()

# %%
# The codes alone miss most neighbours: only 21 % of them are among the first 10 codes of ``NeighborHasher``, the best
# hasher for these vectors. But 300 candidates contain 88 % of them, and 1,000 candidates 99 %.
