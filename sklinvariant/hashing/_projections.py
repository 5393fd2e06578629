"""Hashers whose bits are signs of projections that are drawn or read off: sign, LSH, SKLSH, PCA."""

import torch
from sklearn.utils._param_validation import StrOptions

from sklinvariant._constraints import POSITIVE, check_size
from sklinvariant._layout import Array
from sklinvariant.hashing._hasher import N_BITS, Hasher, principal_directions, typical_distance


class SignHasher(Hasher):
    """One bit a feature: is it above its mean? The binarisation that other hashes have to beat.

    Parameters
    ----------
    packed : bool, default=False
        Give bytes of 8 bits.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.

    Examples
    --------
    >>> from sklinvariant.hashing import SignHasher
    >>> SignHasher().fit_transform([[0.0, 5.0], [1.0, 3.0]])
    array([[0, 1],
           [1, 0]], dtype=uint8)
    """

    _layout = {"mean": Array("n_features_in_")}
    _parameter_constraints = {**Hasher._parameter_constraints}

    def __init__(self, *, packed=False, device="auto"):
        self.packed = packed
        self.device = device

    def _check_layout(self):
        if self._state["n_bits"] != self.n_features_in_:
            raise ValueError(f"n_bits should be {self.n_features_in_}, got {self._state['n_bits']}")

    def _learn(self, X, generator):
        return {"mean": X.double().mean(0), "n_bits": X.shape[1]}

    def _project(self, X, state):
        return X - state["mean"]


class LSHHasher(Hasher):
    """Locality sensitive hashing: signs of random projections, so that bits agree as angles do.

    Two rows differ in a bit with the probability angle / π (about the mean of the training rows).

    Parameters
    ----------
    n_bits : int, default=64
        More bits measure angles more exactly.
    packed : bool, default=False
        Give bytes of 8 bits.
    random_state : int, RandomState or None, default=None
        Seeds the projections.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.

    References
    ----------
    Charikar (2002). Similarity estimation techniques from rounding algorithms.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
    }
    _parameter_constraints = {"n_bits": N_BITS, "random_state": ["random_state"], **Hasher._parameter_constraints}

    def __init__(self, n_bits=64, *, packed=False, random_state=None, device="auto"):
        self.n_bits = n_bits
        self.packed = packed
        self.random_state = random_state
        self.device = device

    def _learn(self, X, generator):
        check_size(self.n_bits * X.shape[1], n_bits=self.n_bits)
        directions = torch.randn(self.n_bits, X.shape[1], generator=generator, dtype=torch.float64)
        return {"mean": X.double().mean(0), "directions": directions, "n_bits": self.n_bits}

    def _project(self, X, state):
        return (X - state["mean"]) @ state["directions"].T


class SKLSHHasher(Hasher):
    """Hashing for shift-invariant kernels: Hamming distances follow a Gaussian kernel of the rows.

    A bit is the sign of ``cos(w·x + b) + t`` with w normal with variance γ, b uniform in a turn and t in ±1.

    Parameters
    ----------
    n_bits : int, default=64
        More bits follow the kernel more exactly.
    gamma : float or "scale", default="scale"
        Of the kernel ``exp(-γ ‖x - y‖² / 2)``; larger tells apart nearer rows. "scale" is 1 over the mean squared
        distance of two rows.
    packed : bool, default=False
        Give bytes of 8 bits.
    random_state : int, RandomState or None, default=None
        Seeds w, b and t.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.

    References
    ----------
    Raginsky, Lazebnik (2009). Locality-sensitive binary codes from shift-invariant kernels. Equation 4.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
        "phase": Array("n_bits"),
        "threshold": Array("n_bits"),
    }
    _parameter_constraints = {
        "n_bits": N_BITS,
        "gamma": [StrOptions({"scale"}), POSITIVE],
        "random_state": ["random_state"],
        **Hasher._parameter_constraints,
    }

    def __init__(self, n_bits=64, *, gamma="scale", packed=False, random_state=None, device="auto"):
        self.n_bits = n_bits
        self.gamma = gamma
        self.packed = packed
        self.random_state = random_state
        self.device = device

    def _learn(self, X, generator):
        root = 1 / (typical_distance(X) or 1.0) if self.gamma == "scale" else self.gamma**0.5
        check_size(self.n_bits * X.shape[1], n_bits=self.n_bits)
        directions = torch.randn(self.n_bits, X.shape[1], generator=generator, dtype=torch.float64) * root
        phase = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 * torch.pi
        threshold = torch.rand(self.n_bits, generator=generator, dtype=torch.float64) * 2 - 1
        # from the mean, which the kernel does not see, so that products stay small
        return {
            "mean": X.double().mean(0),
            "directions": directions,
            "phase": phase,
            "threshold": threshold,
            "n_bits": self.n_bits,
        }

    def _project(self, X, state):
        return torch.cos((X - state["mean"]) @ state["directions"].T + state["phase"]) + state["threshold"]


class PCAHasher(Hasher):
    """Signs of the leading principal components. Later bits carry less: ITQ mends that by a rotation.

    Parameters
    ----------
    n_bits : int, default=64
        At most the number of features.
    packed : bool, default=False
        Give bytes of 8 bits.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA where there is one, else CPU.

    References
    ----------
    Gong, Lazebnik (2011). Iterative quantization, section 2.
    """

    _layout = {
        "mean": Array("n_features_in_"),
        "directions": Array("n_bits", "n_features_in_"),
    }
    _parameter_constraints = {"n_bits": N_BITS, **Hasher._parameter_constraints}

    def __init__(self, n_bits=64, *, packed=False, device="auto"):
        self.n_bits = n_bits
        self.packed = packed
        self.device = device

    def _learn(self, X, generator):
        mean, directions = principal_directions(X, self.n_bits, "PCAHasher")
        return {"mean": mean, "directions": directions, "n_bits": self.n_bits}

    def _project(self, X, state):
        return (X - state["mean"]) @ state["directions"].T
