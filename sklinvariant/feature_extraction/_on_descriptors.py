"""Apply any scikit-learn transformer to the descriptors of all bags."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY
from functools import partial
from typing import Annotated, Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import TransformerMixin, clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.random import sample_without_replacement
from sklearn.utils.validation import check_is_fitted

from sklinvariant._compat import CallbackSupportMixin, HasMethods, fit_context, reports_fit
from sklinvariant._distributed import of_first
from sklinvariant.accumulate import sample_descriptors
from sklinvariant.bags import BagEstimator, DescriptorSets
from sklinvariant.base import (
    Count,
    DaskRows,
    RandomState,
    ScatteredRows,
    Whole,
    as_numpy,
    declared,
    is_stream,
    to_module,
)


def _can_learn_in_parts(self):
    return hasattr(getattr(self, "estimator_", self.estimator), "partial_fit")


def _as_array(rows, dtype):
    return as_numpy(rows.to(dtype))


@declared
class OnDescriptors(CallbackSupportMixin, TransformerMixin, BagEstimator, auto_wrap_output_keys=None):
    """Fit and apply a scikit-learn transformer (PCA, whitening, normalisation, …) to descriptors.

    Parameters
    ----------
    estimator : transformer
        A clone is fitted to the descriptors of all bags, as rows. Set its parameters with ``estimator__…``.
    subsample : int or None
        Maximum number of descriptors to which `fit` fits it; None uses all.
    random_state : int, RandomState or None
        Seeds the choice of these descriptors.

    Attributes
    ----------
    estimator_ : transformer
        The fitted transformer.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklinvariant.feature_extraction import OnDescriptors
    >>> bags = [np.random.default_rng(i).normal(size=(5 + i, 4)) for i in range(3)]
    >>> OnDescriptors(PCA(2, whiten=True)).fit_transform(bags)
    <DescriptorSets of 3 bags of 5-7 descriptors of 2 features, float64 on cpu>
    """

    _fits_in_parts = True
    _fits_streams = True
    _layout = {"n_descriptor_features": Whole()}
    estimator: Annotated[Any, HasMethods(["fit", "transform"])]
    _: KW_ONLY
    subsample: Count | None = 200_000
    random_state: RandomState = None

    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformer to the descriptors.

        Parameters
        ----------
        X : DescriptorSets, list of (n_i, d) arrays, (n, m, d), (n, n_features), or iterable of these
            Bags of local descriptors. An iterable, such as a generator, is read once, one block of bags at a time; a
            random sample of ``subsample`` descriptors is kept.
        y : None
            Ignored, because targets belong to bags, not to descriptors.
        """
        if is_stream(X):
            given = sample_descriptors(self._read_blocks(X), self.subsample, self.random_state)
        else:
            given = self._read(X, reset=True)
        rows = given.data.values
        if self.subsample is not None and len(rows) > self.subsample:
            index = of_first(lambda: self._some(len(rows)))
            rows = rows.chosen(index) if isinstance(rows, ScatteredRows) else rows[index]
        estimator = clone(self.estimator)
        if isinstance(rows, ScatteredRows) and getattr(estimator, "_fits_in_parts", False):
            self.estimator_ = rows.fitted(estimator, partial(_as_array, dtype=given.dtype))
        else:
            values = _as_array(rows, given.dtype)
            self.estimator_ = of_first(lambda: estimator.fit(values))
        self._state = {"n_descriptor_features": rows.shape[1]}
        return self

    @available_if(_can_learn_in_parts)
    @fit_context(prefer_skip_nested_validation=False)
    @reports_fit
    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Call the transformer's ``partial_fit`` with all descriptors of the bags.

        If X is a Dask collection, this is called with those of one block after the other.
        Only available if the transformer has this method, as `IncrementalPCA` and `StandardScaler` have.

        Parameters
        ----------
        y : None
            Ignored, because targets belong to bags, not to descriptors.
        """
        is_first = not hasattr(self, "_state")
        given = self._read(X, reset=is_first)
        values = given.data.values
        # a copy, which an error leaves unused
        estimator = clone(self.estimator) if is_first else copy.deepcopy(self.estimator_)
        for part in values.each() if isinstance(values, DaskRows) else [values]:
            rows = _as_array(part, given.dtype)
            if len(rows):
                estimator = of_first(partial(estimator.partial_fit, rows))
        if len(values):
            self.estimator_, self._state = estimator, {"n_descriptor_features": values.shape[1]}
        return self

    def transform(self, X: Any) -> DescriptorSets:
        """Transform the descriptors of each bag.

        Returns
        -------
        DescriptorSets
            The same bags with transformed descriptors.
        """
        given = self._read(X)
        rows = _as_array(given.data.values, given.dtype)
        if len(rows) == 0:  # transformers reject empty input; a row of zeros gives the number and dtype of features
            result = self._on_rows(np.zeros((1, rows.shape[1]), rows.dtype))[:0]
        else:
            result = self._on_rows(rows)
        return DescriptorSets(given.answer(result), given.data.offsets)

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: to_module(self.estimator_, "transform", dtype=dtype)}

    def _some(self, n):
        """Indices of a random sample of n descriptors, in ascending order."""
        rng = check_random_state(self.random_state)
        return np.sort(sample_without_replacement(n, self.subsample, random_state=rng))

    def _on_rows(self, rows):
        result = self.estimator_.transform(rows)
        result = result.toarray() if issparse(result) else np.asarray(result)
        if result.ndim != 2 or len(result) != len(rows):
            name = type(self.estimator_).__name__
            raise ValueError(
                f"estimator={name} returned shape {result.shape} for {rows.shape}, but one row for each descriptor is "
                "required. Pass another transformer."
            )
        return result

    def set_output(self, *, transform: str | None = None) -> Self:
        """Do nothing. Bags stay bags, whatever output is set for the later steps of a Pipeline."""
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features of a transformed descriptor, from the transformer.

        Returns
        -------
        ndarray of str, a name for each feature
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.array_api_support = False  # the output is a DescriptorSets, not an array
        tags.transformer_tags.preserves_dtype = []
        return tags
