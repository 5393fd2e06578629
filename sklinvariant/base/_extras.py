"""Optional packages, which are imported when they are used."""

import importlib
from typing import Any


def need_extra(module: str, user: str, extra: str = "image") -> Any:
    """Import a module of an extra, or raise an ImportError that says which extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{user} needs {module}: {how_to_install(extra)}") from error


def how_to_install(extra: str) -> str:
    """The command that installs an extra, for installed packages and for checkouts."""
    return f'pip install "sklinvariant[{extra}]" (in a checkout: pip install ".[{extra}]")'
