"""The base of all estimators: fitted state, pickling and tags."""

import copyreg
from collections.abc import Callable
from typing import Any, ClassVar, SupportsIndex

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from sklinvariant.base._calls import Computing
from sklinvariant.base._input import ReadsInput
from sklinvariant.base._parameters import Parameters
from sklinvariant.base._skorch_callbacks import check_callbacks
from sklinvariant.base._state_layout import Check
from sklinvariant.base._tensors import ArrayLike
from sklinvariant.base._to_module import to_module


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator of any library is fitted."""
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


class FittedState:
    """A read-only attribute that returns a named array of the fitted state."""

    def __init__(self, doc: str | None = None) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.rstrip("_")
        self.public = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            return instance._state[self.name]
        except (AttributeError, KeyError):
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.public!r}") from None


class TorchEstimator(Computing, ReadsInput, Parameters, BaseEstimator):
    """Base of all estimators. The fitted state is a dict of numpy arrays, ``_state``; computations use tensors.

    Attributes
    ----------
    n_features_in_ : int
        Number of features of a row, or of a descriptor of a bag, in `fit`.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns in `fit`; only if X was a DataFrame whose column names are strings.
    """

    _shared_docs = """
        transform : {"default", "pandas", "polars"} or None
            Ignored.
        input_features : array-like of str or None
            Ignored, because the names of the output do not depend on them.
        """
    _state: dict[str, Any]
    _fits_in_parts: ClassVar[bool] = False  # whether `fit` computes sums over blocks of Dask or parts of processes
    _fits_shards: ClassVar[bool] = True  # False if `fit` would learn from the part of one process alone
    _learns_nothing: ClassVar[bool] = False  # whether `fit` only needs one sample of a Dask collection
    _fits_streams: ClassVar[bool] = False  # whether `fit` accepts an iterable of blocks
    _layout: dict[str, Check] = {}  # declares the entries of ``_state``, see `sklinvariant.base._state_layout`
    _doc_link_module = "sklinvariant"
    _doc_link_template = "https://sklinvariant.github.io/sklinvariant/api/{estimator_module}.{estimator_name}.html"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_state")

    def to_module(self, method: str | None = None, *, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        """The fitted estimator as a torch module, see `sklinvariant.to_module`.

        Parameters
        ----------
        method : str or None
            The method whose answers the module computes: "transform", "predict_proba", "decision_function" or
            "predict". None is the first of these that the estimator has.
        dtype : torch.dtype
            Precision of the parameters of the module.

        Returns
        -------
        torch.nn.Module
            A module for tensors. Bags must be of equal size (n, m, d).
        """
        return to_module(self, method, dtype=dtype)

    def _modules_of_methods(self, dtype: torch.dtype) -> dict[str, Callable[[], torch.nn.Module]]:
        """What makes the module of each method in a precision; empty if the estimator does not compute with tensors."""
        return {}

    def _fitted_tensors(self, like, *names):
        """Copies of arrays of the fitted state, on the device and in the dtype of the tensor ``like``."""
        return [torch.tensor(np.asarray(self._state[name])).to(like) for name in names]

    def _validate_params(self):
        super()._validate_params()
        check_callbacks(
            getattr(self, "callbacks", None),
            decay=getattr(self, "learning_rate_decay", None),
            early_stopping=getattr(self, "early_stopping", None),
        )

    def _adapt_earlier(self):
        """Adapt a model that an earlier version saved. This is called when a file or a pickle has been read."""

    def _state_for_file(self):
        """What `sklinvariant.save` writes: ``__getstate__()``, in which `StreamedBytes` may replace large arrays."""
        return self.__getstate__()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._adapt_earlier()

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        """Used by pickle, joblib and copy."""
        new: Any = copyreg.__newobj__  # type: ignore[attr-defined]
        return new, (type(self),), self.__getstate__()

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Used by skops, which can write torch modules but not read them."""
        for name, value in vars(self).items():
            if isinstance(value, torch.nn.Module):
                raise TypeError(
                    f"{name} of {type(self).__name__} is a torch module ({type(value).__name__}), which skops cannot "
                    "write. Save the estimator with joblib or pickle (in mlflow, serialization_format='cloudpickle'), "
                    "and load it only from sources that you trust"
                )
        return super().__reduce__()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class RowFeaturesOutMixin(ClassNamePrefixFeaturesOutMixin):
    """Output names derived from the class name. Input names may be those of one cell if X holds feature maps."""

    def get_feature_names_out(self, input_features: ArrayLike = None) -> np.ndarray:
        """Names of the output features of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features of X, or of one cell if X holds feature maps. Only their number is used.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        if input_features is not None and 0 < len(input_features) < self.n_features_in_:
            input_features = None if self.n_features_in_ % len(input_features) == 0 else input_features
        return super().get_feature_names_out(input_features)
