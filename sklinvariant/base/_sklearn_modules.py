"""The scalers, projections, linear models and k-means of scikit-learn, as torch modules."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from torch import nn

from sklinvariant._compat import LinearClassifierMixin, LinearModel
from sklinvariant.base._answer_modules import Affine, Function, Labels

_NORMS: dict[str, Any] = {"l1": 1, "l2": 2, "max": torch.inf}


def modules_of_scikit_learn(estimator: Any) -> dict[str, Callable[[], nn.Module]]:
    """What makes the module of each method of a fitted estimator of scikit-learn; empty if it has none."""
    for kind, make in _TRANSFORMERS.items():
        if type(estimator) is kind:
            return {"transform": partial(make, estimator)}
    if isinstance(estimator, KMeans | MiniBatchKMeans):
        distances = partial(Function, _distances, centers=estimator.cluster_centers_)
        return {"transform": distances, "predict": lambda: nn.Sequential(distances(), Function(_nearest))}
    if not isinstance(estimator, LinearClassifierMixin):
        return {"predict": lambda: _linear(estimator)} if isinstance(estimator, LinearModel) else {}
    modules: dict[str, Callable[[], nn.Module]] = {
        "decision_function": lambda: _linear(estimator),
        "predict": lambda: Labels(_linear(estimator), estimator.classes_),
    }
    if isinstance(estimator, LogisticRegression) and _is_softmax(estimator):
        modules["predict_proba"] = lambda: nn.Sequential(_linear(estimator), Function(probabilities))
    return modules


def probabilities(scores: torch.Tensor) -> torch.Tensor:
    """Probabilities (n, k) of scores (n, k), or of the scores (n,) of the second of two classes."""
    if scores.ndim > 1:
        return scores.softmax(1)
    return torch.stack([(-scores).sigmoid(), scores.sigmoid()], 1)


def _distances(x, centers):
    """Euclidean distances (n, k) of rows from centers; ONNX has no `torch.cdist`."""
    middle = centers.mean(0)  # relative to it, rounding errors are smallest
    x, centers = x - middle, centers - middle
    squares = x.square().sum(1, keepdim=True) - 2 * x @ centers.T + centers.square().sum(1)
    return squares.clamp_min(0).sqrt()


def _nearest(distances):
    return distances.argmin(1).to(torch.int32)


def _is_softmax(estimator):
    """Whether probabilities are the softmax of the scores, and not normalised sigmoids of earlier scikit-learn."""
    if getattr(estimator, "multi_class", "auto") not in ("auto", "deprecated"):
        return False
    return estimator.solver != "liblinear" or len(estimator.classes_) == 2


def _linear(estimator):
    weight = estimator.coef_.toarray() if issparse(estimator.coef_) else np.asarray(estimator.coef_)
    bias = np.asarray(estimator.intercept_)
    if isinstance(estimator, LinearClassifierMixin) and len(weight) == 1:  # two classes have a single score
        weight, bias = weight[0], bias.reshape(-1)[0]
    return Affine(weight=weight, bias=bias)


def _standard_scaler(estimator):
    return Affine(shift=estimator.mean_ if estimator.with_mean else None, scale=estimator.scale_)


def _min_max_scaler(estimator):
    bounds = estimator.feature_range if estimator.clip else None
    return Function(partial(_scaled, bounds=bounds), factor=estimator.scale_, offset=estimator.min_)


def _scaled(x, factor, offset, bounds):
    x = x * factor + offset
    return x if bounds is None else x.clamp(*bounds)


def _max_abs_scaler(estimator):
    return Affine(scale=estimator.scale_)


def _pca(estimator):
    weight = estimator.components_
    if estimator.whiten:
        deviations = np.sqrt(estimator.explained_variance_)
        weight = weight / np.maximum(deviations, np.finfo(deviations.dtype).eps)[:, None]
    return Affine(weight, shift=estimator.mean_)


def _truncated_svd(estimator):
    return Affine(estimator.components_)


def _normalizer(estimator):
    return Function(partial(_normalized, order=_NORMS[estimator.norm]))


def _normalized(x, order):
    length = torch.linalg.vector_norm(x, order, dim=-1, keepdim=True)
    return x / torch.where(length > 0, length, 1)


_TRANSFORMERS: dict[type, Callable[[Any], nn.Module]] = {
    MaxAbsScaler: _max_abs_scaler,
    MinMaxScaler: _min_max_scaler,
    Normalizer: _normalizer,
    PCA: _pca,
    StandardScaler: _standard_scaler,
    TruncatedSVD: _truncated_svd,
}
