"""Nearest-neighbour search among binary codes."""

from sklinvariant.neighbors._hamming_neighbors import HammingNeighbors

__all__ = ["HammingNeighbors"]
