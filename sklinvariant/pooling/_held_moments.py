"""The moments of pairs in the fitted state of a model, and those of several models together."""

from sklinvariant.base import as_tensor
from sklinvariant.pooling._pair_moments import PairMoments

_SUMS = ("total", "change", "first")


def moments_to_state(moments):
    """As numpy arrays and plain values."""
    sums = {name: getattr(moments, name) for name in _SUMS}
    return {"n_pairs": moments.n_pairs, **{name: x.cpu().numpy() for name, x in sums.items() if x is not None}}


def moments_of_state(state, cross, device):
    """As they were; a ValueError where they are not there, or not all that ``cross`` needs."""
    if "total" not in state:
        raise ValueError('solver="moment" cannot go on from a fit by batches, which keeps no moments; fit a clone')
    if cross and "first" not in state:
        raise ValueError("cross_reconstruction=True cannot go on from a fit without it; fit a clone")
    sums = {name: as_tensor(state[name]).to(device) for name in _SUMS if name in state}
    return PairMoments(state["n_pairs"], **sums)


def moments_of_models(models, kind, cross, device):
    """The sum over fitted models of one kind; a ValueError that names the model that has none, or of other features."""
    if not isinstance(models, (list, tuple)) or not len(models):
        raise ValueError(f"models must be a list of fitted {kind.__name__}, and not empty, got {models!r}")
    device = "cpu" if device.type == "mps" else device  # which has no float64
    parts = []
    for i, model in enumerate(models):
        if not isinstance(model, kind) or not hasattr(model, "_state"):
            raise ValueError(f"models[{i}] is no fitted {kind.__name__}: {model!r}")
        if model.n_features_in_ != models[0].n_features_in_:
            raise ValueError(f"models[{i}] has {model.n_features_in_} features, models[0] {models[0].n_features_in_}")
        try:
            parts.append(moments_of_state(model._state, cross, device))
        except ValueError as error:
            raise ValueError(f"models[{i}]: {error}") from None
    return sum(parts[1:], parts[0])
