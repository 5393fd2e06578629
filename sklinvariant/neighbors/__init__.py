"""Nearest-neighbour search among binary codes."""

from sklinvariant.neighbors._embedding_neighbors import EmbeddingNeighbors
from sklinvariant.neighbors._hamming_neighbors import HammingNeighbors
from sklinvariant.neighbors._shards import HammingShards, merge_neighbors

__all__ = ["EmbeddingNeighbors", "HammingNeighbors", "HammingShards", "merge_neighbors"]
