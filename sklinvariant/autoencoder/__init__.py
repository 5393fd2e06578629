"""Autoencoders: features from which the input can be rebuilt."""

from sklinvariant.autoencoder._sparse_autoencoder import SparseAutoencoder

__all__ = ["SparseAutoencoder"]
