"""Embeddings of MobileNet v1, from weights of 8 bits that are stored as a graph of TensorFlow Lite in an ``.npz``."""

import json

import numpy as np
import torch
from torch.nn.functional import conv2d, interpolate, pad
from tqdm import tqdm


class MobileNet:
    """The layers of a file, computed in float32: images (n, 3, h, w) of 0-255 -> means over the cells (n, 1024)."""

    def __init__(self, path):
        with np.load(path) as file:
            graph = json.loads(file["graph.json"].tobytes())
            self.tensors = graph["tensors"]
            self.layers = [
                (op, *(torch.tensor(self._real(file, i)) for i in op["inputs"][1:]))
                for op in graph["ops"]
                if "CONV" in op["type"]
            ]
            self.first = graph["inputs"][0]

    def _real(self, file, number):
        """The values of a constant, (t - zero_point) * scale."""
        of = self.tensors[number]
        return ((file[f"t{number}"].astype(np.float64) - of["zero_point"]) * of["scale"]).astype(np.float32)

    def _range(self, number):
        """The smallest and the largest value of a tensor, which are those of its activation function."""
        of = self.tensors[number]
        return [(end - of["zero_point"][0]) * of["scale"][0] for end in (0, 255)]

    @torch.no_grad()
    def __call__(self, images):
        low, high = self._range(self.first)
        x = low + images * ((high - low) / 255)
        for op, weights, bias in self.layers:
            depthwise = op["type"] == "DEPTHWISE_CONV_2D"
            kernels = weights.permute(3, 0, 1, 2) if depthwise else weights.permute(0, 3, 1, 2)
            x = conv2d(_padded(x, kernels.shape[-1], op["stride"]), kernels, bias, op["stride"], groups=_groups(x, op))
            x = x.clamp_(*self._range(op["outputs"][0]))
        return x.mean((2, 3))


def _groups(x, op):
    return x.shape[1] if op["type"] == "DEPTHWISE_CONV_2D" else 1


def _padded(x, width, stride):
    """Zeros around x, as for the padding "SAME" of TensorFlow: an odd one is at the end."""
    sides = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + width - size, 0)
        sides += [total // 2, total - total // 2]
    return pad(x, sides)


def embed(images, path, size):
    """Embeddings (n, 1024) of images (n, h, w, 3) of 0-255, resized to ``size`` pixels."""
    network, parts = MobileNet(path), torch.as_tensor(images).split(100)
    scaled = (
        interpolate(part.permute(0, 3, 1, 2).float(), (size, size), mode="bilinear")
        for part in tqdm(parts, desc="features")
    )
    return torch.cat([network(part) for part in scaled]).numpy()
