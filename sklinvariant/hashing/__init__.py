"""Hashing of features to short binary codes."""

from sklinvariant.hashing._bilinear import BilinearHasher
from sklinvariant.hashing._itq import ITQHasher
from sklinvariant.hashing._neighbor_hasher import NeighborHasher
from sklinvariant.hashing._projections import LSHHasher, PCAHasher, SignHasher, SKLSHHasher
from sklinvariant.hashing._rbm_hasher import RBMHasher
from sklinvariant.hashing._spectral import SpectralHasher

__all__ = [
    "BilinearHasher",
    "ITQHasher",
    "LSHHasher",
    "NeighborHasher",
    "PCAHasher",
    "RBMHasher",
    "SKLSHHasher",
    "SignHasher",
    "SpectralHasher",
]
