"""The progress bar of ``verbose=1``."""

import sys

from tqdm.auto import tqdm


def progress_bar(name: str, total: int, unit: str, *, verbose: int, initial: int = 0) -> tqdm:
    """A progress bar in a notebook, or on standard error if this is a terminal; otherwise nothing is drawn."""
    shows = bool(verbose) and (_in_notebook() or _is_terminal(sys.stderr))
    return tqdm(total=total, initial=initial, desc=name, unit=unit, disable=not shows)


def _in_notebook():
    """Whether tqdm has chosen its widgets for notebooks, where standard error is no terminal."""
    return any(cls.__module__ == "tqdm.notebook" for cls in tqdm.__mro__)


def _is_terminal(stream):
    return stream is not None and stream.isatty()  # without a console, standard error is None
