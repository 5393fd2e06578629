"""Images and features as short binary codes, and search among codes."""

from sklinvariant.hashing._hamming_neighbors import HammingNeighbors

__all__ = ["HammingNeighbors"]
