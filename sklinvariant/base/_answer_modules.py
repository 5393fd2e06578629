"""Small modules from which the answers of estimators are built, see `sklinvariant.to_module`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from sklinvariant.base._tensors import as_tensor


class Function(nn.Module):
    """A function of a tensor and of named ``tensors``, which are buffers of the module."""

    def __init__(self, function: Callable[..., torch.Tensor], **tensors: Any) -> None:
        super().__init__()
        self.function, self.names = function, tuple(tensors)
        for name, value in tensors.items():
            self.register_buffer(name, as_tensor(np.array(value)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, **{name: getattr(self, name) for name in self.names})


class Labels(nn.Module):
    """The class with the largest of the scores (n, k) of a module; with scores (n,), the second class if positive."""

    classes: torch.Tensor

    def __init__(self, scores: nn.Module, classes: np.ndarray) -> None:
        super().__init__()
        if classes.dtype.kind not in "biuf":
            raise ValueError(
                f"the classes are not numbers, such as {str(classes[0])!r}, but modules answer with tensors. Convert "
                "another method, and take the class from classes_."
            )
        self.scores = scores
        self.register_buffer("classes", as_tensor(classes.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.scores(x)
        return self.classes[(scores > 0).long() if scores.ndim == 1 else scores.argmax(-1)]


class Affine(nn.Module):
    """``(x - shift) / scale @ weight.T + bias`` along the last axis, of which any part may be None.

    A weight (d,) instead of (k, d) gives one number for each row.
    """

    weight: Any
    bias: Any
    shift: Any
    scale: Any

    def __init__(self, weight: Any = None, bias: Any = None, shift: Any = None, scale: Any = None) -> None:
        super().__init__()
        for name, value in (("weight", weight), ("bias", bias), ("shift", shift), ("scale", scale)):
            if value is None:
                setattr(self, name, None)  # not a buffer, because torch.export does not accept buffers of None
            else:
                self.register_buffer(name, as_tensor(np.array(value)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.shift is None else x - self.shift
        x = x if self.scale is None else x / self.scale
        x = x if self.weight is None else x.to(self.weight) @ (self.weight.mT if self.weight.ndim == 2 else self.weight)
        return x if self.bias is None else x + self.bias
