"""One vector for each image from a network, such as the class token of a vision transformer."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import TransformerMixin
from sklearn.utils import Tags

from sklinvariant._compat import CallbackSupportMixin, fit_context, reports_fit
from sklinvariant.base import RowFeaturesOutMixin, Whole, declared
from sklinvariant.feature_extraction._backbones._backbone_estimator import BackboneEstimator
from sklinvariant.feature_extraction._backbones._maps import whole_of
from sklinvariant.ops import concatenated


@declared
class BackboneFeatures(CallbackSupportMixin, RowFeaturesOutMixin, TransformerMixin, BackboneEstimator):
    """Convert each image to one vector, the global feature of a network.

    The vector is that which the model computes before its classifier: the class token of a vision transformer, the
    pooled feature map of a convolutional network, the embedding of CLIP. It is the output of a network that returns
    rows ``(n, d)``. Of other networks, and of a ``layer``, it is the class token if there is one, else the mean over
    the cells of the feature map. `BackbonePatches` returns these cells.

    Attributes
    ----------
    n_features_in_ : int
        Number of values in an image.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant.feature_extraction import BackboneFeatures
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2), torch.nn.ReLU())
    >>> BackboneFeatures(network).fit_transform(np.zeros((2, 9, 9, 3))).shape
    (2, 5)
    """

    _layout = {"n_channels": Whole(), "n_features_out": Whole(1, 1 << 24)}
    _learns_nothing = True

    @fit_context(prefer_skip_nested_validation=True)
    @reports_fit
    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the network and check that it accepts the images. Nothing is learned.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features), or list of (h, w[, c])
            Images of integers 0-255 (scaled to 0-1) or floats. Images of different sizes require an ``image_size``.

        Raises
        ------
        ValueError
            For invalid images, which the message names, and for parameters that do not fit the images.
        OSError
            If the pretrained weights cannot be downloaded. The message names the file to provide.
        """
        given = self._read(X, reset=True)
        state, rows = self._learned(given)
        self._state = {
            "n_channels": given.data[0].shape[-1],
            "n_features_out": rows.shape[1],
            "namespace": given.kind.name,
            **state,
        }
        return self

    def transform(self, X: Any) -> Any:
        """Compute the vector of each image.

        Returns
        -------
        array or tensor of shape (n, n_features_out), float32
            One row for each image.
        """
        given = self._read(X)
        return given.answer(concatenated(self._results(given), len(given.data)))

    def _modules_of_methods(self, dtype):
        return {"transform": self._feature_module}

    @property
    def _n_features_out(self):
        return self._state["n_features_out"]

    def _result(self, backbone, x):
        if self.layer is None:
            return backbone.whole(x).float()
        return whole_of(backbone.at(self.layer, x), x.shape[-2:], backbone.network, self.layer).float()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
