"""Better rankings from those of a search: expansion, k-reciprocal neighbours, and diffusion."""
