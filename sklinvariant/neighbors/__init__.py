"""Nearest-neighbour search among binary codes and vectors, and better rankings from neighbours of neighbours."""

from sklinvariant.neighbors._codes._hamming_neighbors import HammingNeighbors
from sklinvariant.neighbors._codes._shards import HammingShards, merge_neighbors
from sklinvariant.neighbors._exporters import export_codes
from sklinvariant.neighbors._reranking._diffusion import diffusion_ranking
from sklinvariant.neighbors._reranking._expansion import augment_database, expand_queries
from sklinvariant.neighbors._reranking._k_reciprocal import k_reciprocal_ranking
from sklinvariant.neighbors._vectors._embedding_neighbors import EmbeddingNeighbors
from sklinvariant.neighbors._vectors._quantized_neighbors import QuantizedNeighbors

__all__ = [
    "EmbeddingNeighbors",
    "HammingNeighbors",
    "HammingShards",
    "QuantizedNeighbors",
    "augment_database",
    "diffusion_ranking",
    "expand_queries",
    "export_codes",
    "k_reciprocal_ranking",
    "merge_neighbors",
]
