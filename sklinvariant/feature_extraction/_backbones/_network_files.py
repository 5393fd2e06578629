"""Networks from files: ONNX, TorchScript and torch.export."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
import torch
from torch import nn

from sklinvariant.base import need_extra

NETWORK_SUFFIXES = (".onnx", ".pt2", ".ts", ".torchscript", ".pt", ".pth")


def read_network(path: str | os.PathLike[str]) -> nn.Module:
    """Read a network from an ``.onnx``, TorchScript or torch.export (``.pt2``) file.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file holds no network of these kinds.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"module={path!r} does not exist. Pass the path of an existing file.")
    try:
        if path.lower().endswith(".onnx"):
            onnx = need_extra("onnx", "A network in an ONNX file", "onnx")
            model = onnx.load(path)  # with the weights that exporters write to a second file
            return OnnxNetwork(torch.frombuffer(bytearray(model.SerializeToString()), dtype=torch.uint8))
        if path.lower().endswith(".pt2"):
            return ExportedNetwork(path)
        return torch.jit.load(path, map_location="cpu")
    except ImportError:
        raise
    except Exception as error:
        hint = " It holds a state dict: pass the network as module, and this file as weights." * _is_state_dict(path)
        raise ValueError(
            f"module={path!r} cannot be read as a network ({_first_line(error)}). ONNX (.onnx), torch.export (.pt2) "
            f"and TorchScript files (.ts, .pt) are accepted.{hint}"
        ) from error


def _is_state_dict(path):
    if not zipfile.is_zipfile(path):
        return False
    try:
        return isinstance(torch.load(path, map_location="cpu", weights_only=True), dict)
    except Exception:
        return False


def _first_line(error):
    return str(error).strip().partition("\n")[0]


class OnnxNetwork(nn.Module):
    """A network in the ONNX format, computed by onnxruntime.

    The model as bytes is a buffer, so that they are stored as the weights of a fitted estimator. ``layer`` names
    the output to return; None is the first.
    """

    file: torch.Tensor

    def __init__(self, file: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("file", file)
        self._sessions: dict[str, Any] = {}  # by kind of device
        session = self._started(torch.device("cpu"))
        given = session.get_inputs()
        if len(given) != 1 or len(given[0].shape) != 4:
            shapes = {one.name: one.shape for one in given}
            raise ValueError(f"it takes {shapes}, but one input of images (n, c, h, w) is required")
        self.input_shape = fixed_axes(given[0].shape)
        self.outputs = [one.name for one in session.get_outputs()]

    def forward(self, x: torch.Tensor, layer: str | None = None) -> torch.Tensor:
        session = self._started(x.device)
        name = session.get_inputs()[0].name
        parts = in_fixed_batches(x, self.input_shape[0])
        found = [session.run([layer or self.outputs[0]], {name: part.float().cpu().numpy()})[0] for part in parts]
        return torch.from_numpy(np.concatenate(found)[: len(x)]).to(x.device)

    def _started(self, device):
        if device.type not in self._sessions:
            runtime = need_extra("onnxruntime", "A network in an ONNX file", "onnx")
            options = runtime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            options.log_severity_level = 3  # errors only
            wanted = ["CUDAExecutionProvider"] * (device.type == "cuda") + ["CPUExecutionProvider"]
            providers = [name for name in wanted if name in runtime.get_available_providers()]
            model = self.file.cpu().numpy().tobytes()
            self._sessions[device.type] = runtime.InferenceSession(model, options, providers)
        return self._sessions[device.type]


class ExportedNetwork(nn.Module):
    """A network in a file of torch.export, which is always in the mode that it was exported in."""

    def __init__(self, path: str) -> None:
        super().__init__()
        program = torch.export.load(path)
        images = program.graph_signature.user_inputs
        nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in images]
        shape = nodes[0].meta["val"].shape if len(nodes) == 1 else ()
        if len(shape) != 4:
            raise ValueError(f"it takes {len(images)} inputs, but one of images (n, c, h, w) is required")
        self.input_shape = fixed_axes(shape)
        self.graph: Any = program.module()

    def forward(self, x: torch.Tensor) -> Any:
        parts = in_fixed_batches(x, self.input_shape[0])
        if len(parts) == 1 and len(parts[0]) == len(x):
            return self.graph(x)
        return torch.cat([self.graph(part) for part in parts])[: len(x)]

    def train(self, mode: bool = True) -> ExportedNetwork:
        return self


def fixed_axes(shape: Any) -> tuple[int | None, ...]:
    """The length of each axis; None for axes of any length."""
    return tuple(length if isinstance(length, int) else None for length in shape)


def in_fixed_batches(x: torch.Tensor, size: int | None) -> list[torch.Tensor]:
    """Parts of exactly ``size`` images, of which the last is filled up with copies; None is any number."""
    if size is None:
        return [x]
    *parts, last = x.split(size)
    return [*parts, torch.cat([last, last[-1:].expand(size - len(last), *last.shape[1:])])]
