"""Autoencoders: features from which the input can be reconstructed."""

from sklinvariant.autoencoder._canonical_rotation import CanonicalRotation
from sklinvariant.autoencoder._equivariant_autoencoder import EquivariantAutoencoder
from sklinvariant.autoencoder._sparse_autoencoder import SparseAutoencoder

__all__ = ["CanonicalRotation", "EquivariantAutoencoder", "SparseAutoencoder"]
