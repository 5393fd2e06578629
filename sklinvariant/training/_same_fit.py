"""The check that all processes that train a model together were given the same data and parameters."""

from typing import Any

import numpy as np
import torch

from sklinvariant._distributed import Processes

_MOST = 1000  # values of each tensor that are compared
_OWN = {"callbacks", "checkpoint", "device", "random_state", "verbose"}  # parameters that may differ


def check_same_fit(processes: Processes, estimator: Any, data: dict[str, list[torch.Tensor]], *, reset: bool) -> None:
    """Raise a ValueError in all processes if one of them has another estimator, other data or another earlier fit.

    Some values of the tensors in ``data`` are compared, without their signs, which for principal components may depend
    on the processor.
    """
    parameters = estimator.get_params(deep=False)
    own = {
        "estimator": type(estimator).__name__,
        "earlier fit": [not reset, 0 if reset else estimator.n_iter_],
        **{name: _plain(value) for name, value in parameters.items() if name not in _OWN},
        **{name: [(tuple(tensor.shape), _some(tensor)) for tensor in tensors] for name, tensors in data.items()},
    }
    everything = processes.gather(own)
    first = everything[0]
    for rank, other in enumerate(everything):
        differing = [name for name in first if not _equal(first[name], other.get(name))]
        if differing:
            raise ValueError(
                f"{type(estimator).__name__}: processes 0 and {rank} have different {', '.join(differing)}"
                f"{_sizes(first, other)}. Pass the same data and parameters to all processes, or fit outside of "
                "sklinvariant.distributed()"
            )


def _plain(value):
    """A parameter that can be compared between processes; of an object only its type."""
    return value if isinstance(value, (bool, int, float, str, tuple, type(None))) else type(value).__name__


def _some(tensor):
    """Magnitudes of evenly spaced values."""
    flat = tensor.detach().flatten()
    places = torch.linspace(0, len(flat) - 1, min(len(flat), _MOST), dtype=torch.float64).long().to(flat.device)
    return flat[places].cpu().double().abs().numpy()


def _equal(first, other):
    if not isinstance(first, list) or not first or not isinstance(first[0], tuple):
        return first == other
    shapes, others = [shape for shape, _ in first], [shape for shape, _ in other]
    if shapes != others:
        return False
    return all(
        np.allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(a).max(initial=0))
        for (_, a), (_, b) in zip(first, other, strict=True)
    )


def _sizes(first, other):
    """The shapes of the samples, if they differ."""
    sizes = [sum(shape[0] for shape, _ in own["samples"][:1]) for own in (first, other)]
    return f" ({sizes[0]} and {sizes[1]} samples)" if sizes[0] != sizes[1] else ""
