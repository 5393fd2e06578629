"""Fitted estimators and pipelines as torch modules, for a GPU, `torch.export` or ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklinvariant._settings import with_own_settings
from sklinvariant.base._sklearn_modules import modules_of_scikit_learn

_PREFERRED = ("transform", "predict_proba", "decision_function", "predict")


@with_own_settings
def to_module(estimator: Any, method: str | None = None, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A fitted estimator or Pipeline as a torch module, which computes the answers of one of its methods.

    The module needs neither scikit-learn nor this package after ``torch.export`` or ``torch.onnx.export``. It takes
    tensors: rows (n, d), bags of equal size (n, m, d), feature maps (n, h, w, d), or images (n, h, w, c) of integers
    0-255 or floats 0-1. It does not check them.

    Parameters
    ----------
    estimator : estimator or Pipeline
        A fitted estimator of this package, or a Pipeline of such estimators and of scalers, `PCA`, `Normalizer`,
        `KMeans` and linear models of scikit-learn.
    method : str or None
        "transform", "predict_proba", "decision_function" or "predict". None is the first of these that the estimator
        has.
    dtype : torch.dtype
        Precision of the parameters of the module. Pass rows in the same precision.

    Returns
    -------
    torch.nn.Module
        In evaluation mode. Its parameters require no gradient.

    Raises
    ------
    ValueError
        If the estimator does not compute with tensors, or does not have the method.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklinvariant import ITQHasher, to_module
    >>> X = load_iris().data
    >>> codes = to_module(ITQHasher(4, random_state=0).fit(X))
    >>> codes(torch.tensor(X[:2], dtype=torch.float32)).shape
    torch.Size([2, 4])
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype!r} is not a torch dtype of floats. Pass torch.float32 or torch.float64.")
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
        methods = ["transform"] * (len(steps) - 1) + [method] * (len(steps) > 0)
        modules = (to_module(step, name, dtype=dtype) for step, name in zip(steps, methods, strict=True))
        return nn.Sequential(*modules).eval()
    if isinstance(estimator, FrozenEstimator):
        return to_module(estimator.estimator, method, dtype=dtype)
    check_is_fitted(estimator)
    own = getattr(estimator, "_modules_of_methods", None)
    with torch.no_grad():
        module = _chosen(estimator, modules_of_scikit_learn(estimator) if own is None else own(dtype), method)()
    return module.to(dtype).requires_grad_(False).eval()


def _chosen(
    estimator: Any, modules: Mapping[str, Callable[[], nn.Module]], method: str | None
) -> Callable[[], nn.Module]:
    name = type(estimator).__name__
    if not modules:
        raise ValueError(
            f"{name} cannot be converted to a torch module. Convert the other steps, and compute this one as before."
        )
    if method is None:
        method = next(known for known in _PREFERRED if known in modules)
    if method not in modules or not hasattr(estimator, method):
        available = [known for known in modules if hasattr(estimator, known)]
        raise ValueError(f"method={method!r} is not available for {name}. Choose one of {available}.")
    return modules[method]
