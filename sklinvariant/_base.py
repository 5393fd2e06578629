"""What all estimators share: the device, tensors in and out, the fitted state."""

import copyreg
import math

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sklinvariant._calls import Computing
from sklinvariant._compat import array_namespace
from sklinvariant._constraints import PlainParameters
from sklinvariant._containers import refuse_names
from sklinvariant._descriptors import (
    EXACT_IN_FLOAT32,
    DescriptorSets,
    as_numpy,
    as_tensor,
    exceeds_float32,
    plain_tensor,
)
from sklinvariant._interruption import keeps_state_on_failure
from sklinvariant._layout import Check
from sklinvariant._settings import detached
from sklinvariant._skorch_callbacks import check_callbacks
from sklinvariant.kernels import check_reach, compute_dtype, largest_value

DEVICE = [str, torch.device]


def resolve_device(device, like=None):
    """The torch device of ``device="auto"`` (that of a tensor input, else CUDA, else CPU) or of an explicit name.

    "auto" leaves MPS out: it holds no float64, in which moments and statistics are summed here, and nothing of ours has
    been run on it.
    """
    if isinstance(device, str) and device == "auto":
        if isinstance(like, torch.Tensor):
            return like.device
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={device!r} is not to be had here; use 'auto' or 'cpu' ({error})") from error


def torch_generator(random_state):
    """A torch generator of our own (the global ones are neither read nor moved), seeded as scikit-learn seeds."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))


class Container:
    """Remembers what kind of array came in, so that the answer goes out as the same kind, on the same device."""

    def __init__(self, X):
        values = X.values if isinstance(X, DescriptorSets) else X
        values = values[0] if isinstance(values, (list, tuple)) and values else values
        self.tensor_device = values.device if isinstance(values, torch.Tensor) else None
        self.namespace = None if self.tensor_device is not None else array_namespace(values)
        self.device = getattr(values, "device", None)

    @property
    def name(self):
        return "torch" if self.tensor_device is not None else getattr(self.namespace, "__name__", "numpy")

    def wrap(self, result):
        """A tensor (or numpy array) as the caller's kind of array."""
        if self.tensor_device is not None:
            return as_tensor(result).to(self.tensor_device)
        if isinstance(result, torch.Tensor):
            result = result.detach().cpu().numpy()
        if self.namespace is not None:
            return self.namespace.asarray(result, device=self.device)
        return result


def to_numpy(X):
    """Any array on any device as numpy: tensors, and what array-API libraries hold."""
    if isinstance(X, torch.Tensor):
        return as_numpy(X)
    if array_namespace(X) is not None:
        return np.from_dlpack(X)
    return X


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


class TorchEstimator(Computing, PlainParameters, BaseEstimator):
    """Base of every estimator: it holds numpy arrays in ``_state`` and computes with tensors made from them."""

    _layout: dict[str, Check] = {}  # what is in ``_state``: see `sklinvariant._layout`
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


class BagEstimator(TorchEstimator):
    """Base of the estimators of bags of local descriptors (see `DescriptorSets`)."""

    def _check_bags(self, X, *, reset, allow_empty=True):
        """Bags, checked and as tensors where they lie, and the `Container` of the answer.

        Accepts DescriptorSets, lists or object arrays of (n_i, d) arrays, (n, m, d), feature maps (n, h, w, d), and
        flat rows (n, m * d) cut by ``descriptor_dim`` (without it each row is a bag of one descriptor).
        """
        refuse_none(self, X, "bags of descriptors")
        if isinstance(X, torch.Tensor) and X.is_nested:
            X = list(X.unbind())
        refuse_names(self, X, "bags of descriptors")
        container = Container(X)
        if isinstance(X, DescriptorSets) or _looks_ragged(X) or getattr(X, "ndim", 2) in (3, 4):
            bags = X if isinstance(X, DescriptorSets) else DescriptorSets.from_bags(_on_host_or_tensor(X))
            bags = DescriptorSets(plain_tensor(detached(as_tensor(bags.values))), bags.offsets)
            if len(bags) == 0:
                raise ValueError("no bags: 0 sample(s) were given, a minimum of 1 is required")
            d = bags.values.shape[1]
            if d == 0:
                raise ValueError("the descriptors have 0 feature(s), a minimum of 1 is required")
            if reset:
                self.n_features_in_ = d
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            else:
                self._check_width(d)
            values, largest = bags.values, bags.largest_value()
            if values.is_floating_point():
                check_reach(largest, compute_dtype(values.dtype), "X", fitting=reset)
            elif largest > EXACT_IN_FLOAT32:
                bags = DescriptorSets(values.double(), bags.offsets)
        else:
            bags = self._check_rows(X, reset)
        if reset and len(bags.values) == 0:
            raise ValueError(f"all {len(bags)} bags are empty: there is nothing to fit {type(self).__name__} on")
        return bags, container

    def _check_width(self, d):
        expected = self._state["n_descriptor_features"]
        if d != expected:
            raise ValueError(
                f"the bags have descriptors of {d} features, but {type(self).__name__} is expecting {expected} "
                "features as input"
            )

    def _check_rows(self, X, reset):
        dim = getattr(self, "descriptor_dim", None)
        X = check_rows(self, X, reset=reset)
        if dim is not None and X.shape[1] % dim:
            raise ValueError(f"rows of {X.shape[1]} features cannot be cut into descriptors of descriptor_dim={dim}")
        return DescriptorSets.from_bags(X.reshape(len(X), -1, dim or X.shape[1]))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def refuse_none(estimator, X, needed):
    """No data is refused in words, before anything else complains of it in its own."""
    if X is None:
        raise ValueError(f"X is None, but {type(estimator).__name__} needs {needed}")


def refuse_bags(estimator, X, needed):
    """Bags are refused in words where an estimator takes none."""
    if isinstance(X, DescriptorSets):
        raise ValueError(
            f"X is a DescriptorSets, bags of local descriptors, but {type(estimator).__name__} needs {needed}. "
            "Aggregate the bags first, for instance with BagOfWords or VLAD"
        )


def check_rows(estimator, X, *, reset, wide=False):
    """Rows (n, n_features) as a finite tensor where they lie, in the precision of `in_compute_dtype`.

    Numbers that are too large to compute with are refused; so are too small ones, where the rows are fitted to.
    ``wide`` is for methods that take no squares but in units of their own.
    Feature maps (n, h, w, k) are rows of their h·w·k numbers.
    """
    refuse_none(estimator, X, "rows of features")
    refuse_names(estimator, X, "rows of features")
    refuse_bags(estimator, X, "rows of features")
    if isinstance(X, torch.Tensor):
        X = plain_tensor(X)
    if getattr(X, "ndim", 2) == 4 and len(X):
        X = X.reshape(len(X), -1)
    if isinstance(X, torch.Tensor):
        return _check_tensor_rows(estimator, X, reset, wide)
    X = to_numpy(X)
    rows = validate_data(estimator, X, reset=reset, ensure_min_features=1, ensure_all_finite=False)
    rows = as_tensor(np.ascontiguousarray(in_compute_dtype(rows)))
    largest = largest_value(rows)  # in the place of scikit-learn's look for NaN: one pass gives both
    if not math.isfinite(largest):
        validate_data(estimator, X, reset=False, ensure_min_features=1)  # which says what was found
    check_reach(largest, rows.dtype, "X", fitting=reset, wide=wide)
    return rows


def _check_tensor_rows(estimator, X, reset, wide):
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got a tensor of shape {tuple(X.shape)} instead. Reshape your data.")
    if X.is_complex():
        raise ValueError("Complex data not supported")
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(
            f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s); a minimum of 1 is required"
        )
    rows = in_compute_dtype(detached(X))
    largest = largest_value(rows)
    if not math.isfinite(largest):
        raise ValueError("Input X contains NaN or infinity")
    if reset:
        estimator.n_features_in_ = X.shape[1]
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif X.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} "
            "features as input"
        )
    check_reach(largest, rows.dtype, "X", fitting=reset, wide=wide)
    return rows


def in_compute_dtype(X):
    """An array or tensor of numbers in the precision it is computed in.

    float64 stays float64, and so become whole numbers that float32 cannot hold exactly; all else is float32.
    """
    if isinstance(X, torch.Tensor):
        return X.to(torch.float64 if exceeds_float32(X) else compute_dtype(X.dtype))
    wide = (X.dtype.kind == "f" and X.dtype.itemsize >= 8) or exceeds_float32(X)
    return X.astype(np.float64 if wide else np.float32, copy=False)


def as_numbers(X, name):
    """An array or tensor of real numbers as a tensor of any shape, in the precision of `in_compute_dtype`."""
    X = plain_tensor(X, name) if isinstance(X, torch.Tensor) else np.asarray(to_numpy(X))
    real = not X.is_complex() if isinstance(X, torch.Tensor) else X.dtype.kind in "fiub"
    if not real:
        raise ValueError(f"{name} must hold real numbers, got dtype {X.dtype}")
    return as_tensor(in_compute_dtype(X)).detach()


def check_computed(estimator, values):
    """Refuse to decide by scores that are NaN or infinite: a decision would not show it."""
    if not math.isfinite(largest_value(values)):
        raise FloatingPointError(
            f"{type(estimator).__name__} computed NaN or infinity from X, whose values are too far from those seen in "
            f"fit for {str(values.dtype).removeprefix('torch.')}. Scale X as in fit, or pass float64."
        )
    return values


def _looks_ragged(X):
    """Whether X is a series of bags; what they are, `DescriptorSets.from_bags` looks into."""
    if getattr(X, "ndim", None) == 1 and X.dtype == object:
        return True
    return isinstance(X, (list, tuple)) and (len(X) == 0 or any(map(_looks_like_a_bag, X)))


def _looks_like_a_bag(item):
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and isinstance(item[0], (list, tuple, np.ndarray))
    return getattr(item, "ndim", 0) >= 2


def _on_host_or_tensor(X):
    """Tensors stay where they are; arrays of other libraries become numpy's."""
    return X if isinstance(X, (list, tuple, torch.Tensor)) else to_numpy(X)


def check_fitted(estimator, method, X):
    """Fitted, and with the same kind of array where array-API dispatch is on; the `Container` of X."""
    check_is_fitted(estimator)
    container = Container(X)
    estimator._check_namespace(container, method)
    return container


__all__ = [
    "DEVICE",
    "BagEstimator",
    "Container",
    "FittedState",
    "RowFeaturesOutMixin",
    "TorchEstimator",
    "as_numbers",
    "check_computed",
    "check_fitted",
    "check_rows",
    "compute_dtype",
    "in_compute_dtype",
    "keeps_state_on_failure",
    "refuse_bags",
    "refuse_none",
    "resolve_device",
    "to_numpy",
    "torch_generator",
]
