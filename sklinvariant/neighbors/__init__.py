"""Nearest-neighbour search among binary codes and vectors, and better rankings from neighbours of neighbours."""

from sklinvariant.neighbors._diffusion import diffusion_ranking
from sklinvariant.neighbors._embedding_neighbors import EmbeddingNeighbors
from sklinvariant.neighbors._expansion import augment_database, expand_queries
from sklinvariant.neighbors._exporters import export_codes
from sklinvariant.neighbors._hamming_neighbors import HammingNeighbors
from sklinvariant.neighbors._quantized_neighbors import QuantizedNeighbors
from sklinvariant.neighbors._reranking import k_reciprocal_ranking
from sklinvariant.neighbors._shards import HammingShards, merge_neighbors

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
