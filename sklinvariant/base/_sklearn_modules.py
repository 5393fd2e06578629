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
    if type(estimator) in (KMeans, MiniBatchKMeans):
        distances = partial(Function, _distances, centers=estimator.cluster_centers_)
        return {"transform": distances, "predict": lambda: nn.Sequential(distances(), Function(_nearest))}
    if type(estimator).__module__.partition(".")[0] != "sklearn":  # subclasses may compute other answers
        return {}
    if not isinstance(estimator, LinearClassifierMixin):
        return {"predict": lambda: _linear(estimator)} if isinstance(estimator, LinearModel) else {}
    modules: dict[str, Callable[[], nn.Module]] = {
        "decision_function": lambda: _linear(estimator),
        "predict": lambda: _labels(estimator),
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
    return torch.linalg.vector_norm(x[:, None].to(centers) - centers, dim=2)


def _nearest(distances):
    return distances.argmin(1).to(torch.int32)


def _labels(estimator):
    """The predictions of a classifier. Those of ridge regression also learn several labels at once."""
    targets = getattr(estimator, "_label_binarizer", None)
    if targets is not None and targets.y_type_.startswith("multilabel"):
        return nn.Sequential(_linear(estimator), Function(_is_positive))
    return Labels(_linear(estimator), estimator.classes_)


def _is_positive(scores):
    return (scores > 0).to(torch.int64)


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
    low, high = estimator.feature_range
    settings = {"low": low, "bounds": (low, high) if estimator.clip else None}
    return Function(partial(_scaled, **settings), least=estimator.data_min_, factor=estimator.scale_)


def _scaled(x, least, factor, low, bounds):
    x = (x - least) * factor + low  # the least value first, which may be large compared with the range
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
    x = x if x.is_floating_point() else x.float()  # codes are integers
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
