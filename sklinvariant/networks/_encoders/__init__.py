"""Encoders of bags of descriptors, R(F; Θ) = mean of T(f; Θ) (Katharopoulos et al. 2017, eq. 1)."""
