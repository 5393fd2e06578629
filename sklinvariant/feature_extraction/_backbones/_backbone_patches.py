"""The cells of a network's feature map as local descriptors (the paper uses conv3_3 of VGG-16)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.utils.validation import check_is_fitted

from sklinvariant.bags import DescriptorSets
from sklinvariant.base import Device, declared
from sklinvariant.feature_extraction._backbones._backbone_estimator import BackboneEstimator
from sklinvariant.feature_extraction._backbones._maps import WrongOutput, cells_of, layers_of_maps
from sklinvariant.images import ImageTransformer
from sklinvariant.ops import concatenated


@declared
class BackbonePatches(BackboneEstimator, ImageTransformer):
    """Convert images to bags of feature map cells: a map ``(n, c, h, w)`` gives h·w descriptors of c features.

    The network is copied, set to evaluation mode and computed in float32 up to the layer. A fitted estimator stores its
    weights. Cells are ordered row by row.

    A map is interpreted as ``(n, c, h, w)``, or as ``(n, h, w, c)`` if only this layout has the aspect ratio of the
    images (Swin). The tokens ``(n, tokens, c)`` of a vision transformer are the cells of its grid of patches; class and
    register tokens are left out. `BackboneFeatures` returns the class token.

    Notes
    -----
    Greyscale images are repeated over three channels if the first convolution of the network takes three. Random
    numbers drawn by a callable come from a separate generator, which is the same in every fit.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant.feature_extraction import BackbonePatches
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2), torch.nn.ReLU())
    >>> BackbonePatches(network).fit_transform(np.zeros((2, 9, 9, 3))).shape
    (2, 16, 5)
    """

    def _prepare(self, given):
        state, maps = self._learned(given)
        return {"n_descriptor_features": maps.shape[-1], **state}

    def _describe(self, given):
        parts = (maps.flatten(1, 2) for maps in self._results(given))
        return DescriptorSets.from_bags(concatenated(parts, len(given.data)))

    def feature_maps(self, device: Device) -> Callable[[torch.Tensor], torch.Tensor]:
        """The fitted network on a device, as a function of images.

        The weights are loaded only once, so the function can be called for many batches.

        Parameters
        ----------
        device : str or torch.device
            The device.

        Returns
        -------
        callable that maps images (n, h, w, c) to maps (n, rows, columns, features)
        """
        check_is_fitted(self)
        return self._runner(device)

    def _modules_of_methods(self, dtype):
        return {"transform": lambda: self._feature_module(flat=True)}

    def _map_module(self):
        return self._feature_module()

    def _result(self, backbone, x):
        output = backbone.maps(x) if self.layer is None else backbone.at(self.layer, x)
        try:
            return cells_of(output, x.shape[-2:], backbone.network, self.layer).float()
        except WrongOutput as error:
            are_tokens = getattr(output, "ndim", 0) == 3
            layers = [] if are_tokens else layers_of_maps(backbone.network, x)
            if not layers:
                raise
            raise WrongOutput(
                f"{error} The last that returns a map is BackbonePatches(network, layer={layers[-1]!r})."
            ) from None
