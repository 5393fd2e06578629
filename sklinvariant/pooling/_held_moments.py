"""Moments of pairs in the fitted state of a model, and their sum over several models."""

from typing import Any

import torch

from sklinvariant.base import as_tensor
from sklinvariant.ops import float64_device
from sklinvariant.pooling._pair_moments import PairMoments

_SUMS = ("total", "change", "first", "shift")


def moments_to_state(moments: PairMoments) -> dict[str, Any]:
    """The moments as numpy arrays and plain values."""
    sums = {name: getattr(moments, name) for name in _SUMS}
    return {"n_pairs": moments.n_pairs, **{name: x.cpu().numpy() for name, x in sums.items() if x is not None}}


def moments_of_state(state: dict[str, Any], cross: bool, device: str | torch.device) -> PairMoments:
    """The moments in a fitted state. Raises a ValueError if there are none, or if ``cross`` needs others."""
    if "total" not in state:
        raise ValueError('solver="moment" cannot continue a fit with "sgd", which stores no moments. Fit a clone')
    if cross and "first" not in state:
        raise ValueError("cross_reconstruction=True cannot continue a fit with False. Fit a clone")
    sums = {name: as_tensor(state[name]).to(device) for name in _SUMS if name in state}
    return PairMoments(state["n_pairs"], **sums)


def pooling_moments_of_state(
    state: dict[str, Any], cross: bool, standardize: bool, device: str | torch.device
) -> PairMoments:
    """The moments in the state of `AutoPooling`, with a shift if ``standardize`` needs it."""
    moments = moments_of_state(state, cross, device)
    if not standardize:
        return moments.without_shift()
    if moments.shift is None:
        raise ValueError(cannot_change(standardize=True))
    return moments


def cannot_change(*, standardize: bool) -> str:
    """The message for a fit that continues one with another ``standardize``."""
    other = not standardize
    return f"standardize={standardize} cannot continue a fit with {other}. Set standardize={other}, or fit a clone"


def moments_of_models(
    models: list[Any], kind: type[Any], cross: bool, standardize: bool, device: str | torch.device
) -> PairMoments:
    """The sum of the moments of fitted models. Raises a ValueError that names the first model that cannot be used."""
    if not isinstance(models, (list, tuple)) or not len(models):
        raise ValueError(f"models must be a non-empty list of fitted {kind.__name__}, got {models!r}")
    parts = []
    for i, model in enumerate(models):
        if not isinstance(model, kind) or not hasattr(model, "_state"):
            raise ValueError(f"models[{i}] must be a fitted {kind.__name__}, got {model!r}")
        if model.n_features_in_ != models[0].n_features_in_:
            raise ValueError(
                f"models[{i}] has {model.n_features_in_} features, but models[0] has {models[0].n_features_in_}. "
                "Pass models of the same features"
            )
        try:
            parts.append(pooling_moments_of_state(model._state, cross, standardize, float64_device(device)))
        except ValueError as error:
            raise ValueError(f"models[{i}]: {error}") from None
    return sum(parts[1:], parts[0])
