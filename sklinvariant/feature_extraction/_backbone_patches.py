"""The cells of a network's feature map as local descriptors (the paper takes conv3_3 of VGG-16)."""

import copy
import importlib
from numbers import Integral

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklinvariant._base import DEVICE, resolve_device
from sklinvariant._descriptors import DescriptorSets
from sklinvariant.feature_extraction._images import ImageTransformer, as_float
from sklinvariant.feature_extraction._weights import load_weights


class BackbonePatches(ImageTransformer):
    """Images to bags of the cells of a feature map: ``(n, c, h, w)`` becomes h·w descriptors of c features.

    Parameters
    ----------
    module : torch.nn.Module, callable or str
        A network that takes ``(n, c, h, w)`` float32 images, a callable that makes one, or the name of one in
        torchvision or timm, where installed. It is used in evaluation mode, on a copy.
    layer : str or None, default=None
        Name of the layer (as in ``module.named_modules()``) whose output is taken; None takes the network's.
    weights : path or None, default=None
        A local ``.safetensors``, ``.npz`` or state-dict file to load first.
    mean : float or sequence, default=0.0
        Subtracted from the images, which are floats 0-1, for each channel.
    std : float or sequence, default=1.0
        What they are divided by then.
    bgr : bool, default=False
        Turn RGB into BGR first, before ``mean`` and ``std``.
    batch_size : int, default=64
        Images at a time.
    image_shape : tuple or None, default=None
        ``(h, w)`` or ``(h, w, c)`` of flat rows. Without it a flat row is an image of one row of pixels.
    device : str or torch.device, default="auto"
        "auto" is the device of a tensor input, else CUDA or MPS where there is one, else CPU.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklinvariant.feature_extraction import BackbonePatches
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, stride=2), torch.nn.ReLU())
    >>> BackbonePatches(network).fit_transform(np.zeros((2, 9, 9, 3))).shape
    (2, 16, 5)
    """

    _parameter_constraints = {
        "module": [nn.Module, callable, str],
        "layer": [str, None],
        "weights": None,
        "mean": None,
        "std": None,
        "bgr": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "image_shape": [tuple, list, None],
        "device": DEVICE,
    }
    _parameter_constraints = {k: v for k, v in _parameter_constraints.items() if v is not None}

    def __init__(
        self,
        module,
        *,
        layer=None,
        weights=None,
        mean=0.0,
        std=1.0,
        bgr=False,
        batch_size=64,
        image_shape=None,
        device="auto",
    ):
        self.module = module
        self.layer = layer
        self.weights = weights
        self.mean = mean
        self.std = std
        self.bgr = bgr
        self.batch_size = batch_size
        self.image_shape = image_shape
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the images and the network, load the weights; nothing is learned.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features)
            Images: integers 0-255 (read as 0-1) or floats.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where the network has no such layer, the file does not fit, or the layer gives no feature map.
        """
        images = self._check_images(X, reset=True)
        network = self._make_network()
        with torch.no_grad():
            self._n_descriptor_features = self._run(network, images[:1].cpu()).shape[-1]
        return self

    def transform(self, X):
        """The cells of each image's feature map.

        Parameters
        ----------
        X : array of shape (n, h, w[, c]) or (n, n_features)

        Returns
        -------
        DescriptorSets
            float32, cells row by row.
        """
        check_is_fitted(self)
        images = self._check_images(X, reset=False)
        device = resolve_device(self.device, X)
        network = self._make_network().to(device)
        with torch.no_grad():
            cells = [self._run(network, part.to(device)) for part in images.split(self.batch_size)]
        bags = torch.cat(cells if isinstance(X, torch.Tensor) else [part.cpu() for part in cells])
        return DescriptorSets.from_bags(bags if isinstance(X, torch.Tensor) else bags.numpy())

    def _make_network(self):
        network = self.module
        if isinstance(network, str):
            network = _named_network(network)
        elif not isinstance(network, nn.Module):
            network = network()
        else:
            network = copy.deepcopy(network)
        if self.weights is not None:
            load_weights(network, self.weights)
        if self.layer is not None and self.layer not in dict(network.named_modules()):
            names = [name for name, _ in network.named_modules() if name]
            raise ValueError(f"layer={self.layer!r} is not in the network; it has {names[:20]}")
        return network.eval().requires_grad_(False)

    def _run(self, network, images):
        x = as_float(images).to(torch.float32).permute(0, 3, 1, 2)
        x = x.flip(1) if self.bgr else x
        mean, std = (torch.as_tensor(np.ravel(v), dtype=x.dtype, device=x.device) for v in (self.mean, self.std))
        x = (x - mean[:, None, None]) / std[:, None, None]
        if self.layer is None:
            features = network(x)
        else:
            caught = {}
            hook = dict(network.named_modules())[self.layer].register_forward_hook(
                lambda module, args, output: caught.update(output=output)
            )
            try:
                network(x)
            finally:
                hook.remove()
            features = caught["output"]
        if not isinstance(features, torch.Tensor) or features.ndim != 4:
            raise ValueError(f"layer={self.layer!r} gives no feature map (n, c, h, w)")
        return features.flatten(2).transpose(1, 2)  # (n, c, h, w) -> (n, h w, c)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _named_network(name):
    for library, make in (("torchvision.models", "get_model"), ("timm", "create_model")):
        try:
            return getattr(importlib.import_module(library), make)(name)
        except ImportError:
            continue
        except (ValueError, RuntimeError):
            continue
    raise ImportError(
        f"module={name!r}: no such network in torchvision or timm, or neither is installed; install one, or give a "
        "torch.nn.Module"
    )
