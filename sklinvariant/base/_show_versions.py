"""Version information for bug reports."""

import importlib.metadata
import platform
import sys

_REQUIRED = ("numpy", "scipy", "scikit-learn", "torch", "skorch", "joblib", "safetensors")
_EXTRAS = ("faiss-cpu", "scikit-image", "opencv-python-headless", "av", "matplotlib", "pooch", "rich", "skops")


def show_versions() -> None:
    """Print the versions of the system, the dependencies and the extras, and the devices of torch."""
    import torch

    import sklinvariant

    rows = {
        "sklinvariant": sklinvariant.__version__,
        "python": sys.version.replace("\n", " "),
        "machine": platform.platform(),
        **{name: _version(name) for name in _REQUIRED},
        "torch built for": f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU",
        "torch threads": torch.get_num_threads(),
        "torch devices": ", ".join(_devices(torch)),
        **{f"{name} (extra)": _version(name) for name in _EXTRAS},
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:>{width}}: {value}")


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices(torch):
    yield "cpu"
    for i in range(torch.cuda.device_count()):
        yield f"cuda:{i} ({torch.cuda.get_device_name(i)})"
    if torch.backends.mps.is_available():
        yield "mps"
