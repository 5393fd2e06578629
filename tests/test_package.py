"""Importing is fast and lazy, and every public name exists."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import sklinvariant


def test_import_is_lazy():
    code = "import sys, sklinvariant; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_quick():
    """Compared with importing torch on the same machine; it takes about a hundredth of this time."""
    code = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    ours, torchs = (
        min(float(subprocess.check_output([sys.executable, "-c", code.format(name)])) for _ in range(times))
        for name, times in (("sklinvariant", 3), ("torch", 1))
    )
    assert ours < torchs / 2


@pytest.mark.parametrize("name", sklinvariant.__all__)
def test_every_name_is_there(name):
    assert getattr(sklinvariant, name) is not None
    assert name in dir(sklinvariant)


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        sklinvariant.nothing  # noqa: B018


_SECTIONS = {"Parameters", "Returns", "Attributes", "Examples", "References", "Raises", "Notes", "Yields", "See Also"}


def _docstring_lines():
    for path in Path(sklinvariant.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                lines = map(str.strip, (ast.get_docstring(node) or "").splitlines())
                yield from (line for line in lines if line.strip("-") and line not in _SECTIONS | {"self : object"})


def test_few_lines_of_docstrings_are_repeated():
    """Shared entries are written once, see `sklinvariant.base.Documented` and `documented_by`."""
    counts = Counter(_docstring_lines())
    repeated = {line: n for line, n in counts.items() if n > 1}
    share = sum(repeated.values()) / counts.total()
    assert share < 0.15, f"{share:.1%}; the most frequent: {Counter(repeated).most_common(30)}"
