"""
Search with compact codes, then rank by vectors
===============================================

A search among millions of embeddings is limited by memory. Binary codes are 32 times smaller than float32 vectors of the same
length. ``EmbeddingNeighbors`` finds candidates by their codes, and ranks only these by the vectors, which stay in a file.
"""

# %%
# The vectors: 20,000 patches of photographs, described by 64 coefficients of a PCA. The last 500 are the queries.

import numpy as np
from skimage import data
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA
from sklearn.feature_extraction.image import extract_patches_2d

photographs = [*load_sample_images().images, data.astronaut(), data.chelsea(), data.coffee()]
patches = np.concatenate([extract_patches_2d(image, (12, 12), max_patches=4000, random_state=0) for image in photographs])
patches = np.random.default_rng(0).permutation(patches.reshape(len(patches), -1)).astype(np.float32)
vectors = PCA(64, random_state=0).fit_transform(patches)
stored, queries = vectors[:-500], vectors[-500:]

# %%
# Codes alone: the share of the ten nearest vectors that are among the ten nearest codes, for three hashers and three lengths.

import matplotlib.pyplot as plt

from sklinvariant import EmbeddingNeighbors, ITQHasher, LSHHasher, NeighborHasher
from sklinvariant.metrics import exact_ranking

nearest = exact_ranking(queries, stored, n_neighbors=10)


def recall(rows):
    """Share of the ten nearest rows of each query that were found."""
    return np.mean([len(np.intersect1d(found, true)) / 10 for found, true in zip(rows, nearest, strict=True)])


