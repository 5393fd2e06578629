"""Loading of weights into a torch module from a local file."""

import os

import numpy as np
import torch
from torch import nn

# names in Keras and TensorFlow, after the last slash: conv1/kernel
_CHANNELS_LAST = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load_weights(module: nn.Module, path: str | os.PathLike, *, prefix: str = "") -> nn.Module:
    """Load a ``.safetensors``, ``.npz`` or torch state-dict file into a module. No code in the file is executed.

    Arrays of an ``.npz`` file named as in Keras (``conv1/kernel``, of shape (h, w, in, out)) are converted to torch's
    layout.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    path : path
        The file.
    prefix : str, default=""
        If names in the file begin with this prefix, only these are loaded, without it: weights of a part of a model.

    Returns
    -------
    torch.nn.Module
        The network.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file cannot be read, or if its names or shapes do not match the module.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"weights={path!r} does not exist. Pass the path of an existing file.")
    try:
        state = _read(path)
    except Exception as error:
        raise ValueError(
            f"weights={path!r} cannot be read as a .safetensors, .npz or state-dict file ({error}). Pass another file."
        ) from error
    if prefix and any(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    try:
        module.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"weights={path!r} does not match {type(module).__name__}. Pass weights of this network ({error})."
        ) from error
    return module


def _read(path):
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    if path.endswith(".npz"):
        with np.load(path, allow_pickle=False) as file:
            return dict(_as_torch(name, torch.from_numpy(file[name])) for name in file.files)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


def _as_torch(name, value):
    *folders, leaf = name.split("/")
    if not folders or leaf not in _CHANNELS_LAST:
        return name, value
    if leaf == "kernel":
        value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T  # (h, w, in, out) -> (out, in, h, w)
    return ".".join([*folders, _CHANNELS_LAST[leaf]]), value.contiguous()
