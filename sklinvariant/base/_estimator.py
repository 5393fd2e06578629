"""What all estimators share: the device, tensors in and out, the fitted state."""

import copyreg

import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted

from sklinvariant.base._array_kind import ArrayKind
from sklinvariant.base._calls import Computing
from sklinvariant.base._parameters import Parameters
from sklinvariant.base._skorch_callbacks import check_callbacks
from sklinvariant.base._state_layout import Check


class FittedState:
    """A named tensor of the fitted state, seen as a read-only numpy attribute."""

    def __init__(self, doc=None):
        self.__doc__ = doc

    def __set_name__(self, owner, name):
        self.name = name.rstrip("_")
        self.public = name

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        try:
            return instance._state[self.name]
        except (AttributeError, KeyError):
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.public!r}") from None


class TorchEstimator(Computing, Parameters, BaseEstimator):
    """Base of every estimator: it holds numpy arrays in ``_state`` and computes with tensors made from them."""

    _layout: dict[str, Check] = {}  # what is in ``_state``: see `sklinvariant.base._state_layout`
    _doc_link_module = "sklinvariant"
    _doc_link_template = "api/{estimator_module}.{estimator_name}.html"

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_state")

    def _validate_params(self):
        super()._validate_params()
        check_callbacks(getattr(self, "callbacks", None), decay=getattr(self, "learning_rate_decay", None))

    def __reduce_ex__(self, protocol):
        """What pickle, joblib and copy use."""
        return copyreg.__newobj__, (type(self),), self.__getstate__()

    def __reduce__(self):
        """What skops asks before it writes an estimator; files with torch modules in them could never be read."""
        for name, value in vars(self).items():
            if isinstance(value, torch.nn.Module):
                raise TypeError(
                    f"{name} of {type(self).__name__} is a torch module ({type(value).__name__}), which skops cannot "
                    "write. Save the estimator with joblib or pickle (in mlflow, serialization_format='cloudpickle'), "
                    "and load it only from sources that you trust"
                )
        return super().__reduce__()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _check_namespace(self, container, method):
        """With array-API dispatch on, a model fitted in one namespace refuses another, as scikit-learn's do."""
        from sklearn import get_config

        if get_config().get("array_api_dispatch") and container.name != self._state.get("namespace", container.name):
            name = type(self).__name__
            raise ValueError(
                f"Inputs passed to {name}.{method}() must use the same namespace and the same device as those passed "
                f"to fit(): fitted with {self._state['namespace']}, got {container.name}. Move the data, or switch "
                "array_api_dispatch off."
            )


class RowFeaturesOutMixin(ClassNamePrefixFeaturesOutMixin):
    """Names after the class for what is made of rows; those of rows that were feature maps may come one a cell."""

    def get_feature_names_out(self, input_features=None):
        """Names of the features that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the features of X, or, where X holds feature maps, of those of one cell; only their number counts.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        if input_features is not None and 0 < len(input_features) < self.n_features_in_:
            input_features = None if self.n_features_in_ % len(input_features) == 0 else input_features
        return super().get_feature_names_out(input_features)


def check_fitted(estimator, method, X):
    """Fitted, and with the same kind of array where array-API dispatch is on; the `ArrayKind` of X."""
    check_is_fitted(estimator)
    container = ArrayKind(X)
    estimator._check_namespace(container, method)
    return container
