"""The structure of the package: rooms that import only from earlier rooms, and one place for private names."""

import ast
import re
from pathlib import Path

import pytest

import sklinvariant

# A room imports from the rooms before it. A new room is entered here.
ROOMS = [
    "_warnings",
    "_compat",
    "_docstrings",
    "_precision",
    "_settings",
    "_distributed",
    "ops",
    "networks",
    "base",
    "bags",
    "images",
    "accumulate",
    "training",
    "transforms",
    "pairs",
    "feature_extraction",
    "aggregation",
    "pooling",
    "hashing",
    "neighbors",
    "cluster",
    "autoencoder",
    "metrics",
    "datasets",
    "inspection",
    "cli",
]
ROOT = Path(sklinvariant.__file__).parent
PROJECT = Path(__file__).parents[1]

# Modules without a test file of their name, and why.
WITHOUT_TESTS = {
    "_compat.py": "names of other libraries",
    "bags/_bag_estimator.py": "a declaration, which tests/bags/test_bag_reader.py uses",
    "inspection/_display.py": "documentation alone, which tests/test_docstrings.py reads",
    "ops/gpu/_soft_moment_kernels.py": "kernels, which tests/ops/gpu/test_soft_moments.py launches",
}


def imports(source):
    """Every import of a source, also those inside functions: (line, module, imported name or None)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import by the full name of the package"
            yield from ((node.lineno, node.module, alias.name) for alias in node.names)


def private_names(source):
    """Private names of scikit-learn and skorch that a source imports."""
    for line, module, name in imports(source):
        parts = [*module.split("."), *([name] if name else [])]
        if parts[0] in ("sklearn", "skorch") and any(part.startswith("_") for part in parts):
            yield f"line {line}: {'.'.join(parts)}"


def wrong_imports(source, room):
    """Imports from another room that name a private module or object, or that point to a later room."""
    for line, module, name in imports(source):
        parts = module.split(".")
        if parts[0] != "sklinvariant":
            continue
        parts = parts[1:] or [sklinvariant._NAMES.get(name, name)]
        other, inside = parts[0], [*parts[1:], *([name] if name else [])]
        if other in (room, None) or other not in ROOMS:  # `import sklinvariant` itself, and its version
            continue
        if any(part.startswith("_") for part in inside):
            yield f"line {line}: {module} {name} is private to the room {other}"
        if ROOMS.index(other) > ROOMS.index(room):
            yield f"line {line}: {module} {name} is in a later room"


def unannotated(source):
    """Public functions and methods of a source with a parameter, or a return value, without an annotation."""

    def functions(node):
        for child in node.body:
            if isinstance(child, ast.FunctionDef) and (not child.name.startswith("_") or child.name.endswith("__")):
                decorators = {ast.unparse(decorator) for decorator in child.decorator_list}
                if "triton.jit" not in decorators:  # Triton reads annotations of its functions as types
                    yield child, isinstance(node, ast.ClassDef) and "staticmethod" not in decorators
            elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
                yield from functions(child)

    for function, is_bound in functions(ast.parse(source)):
        given = function.args
        parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
        names = [parameter.arg for parameter in parameters[is_bound:] if parameter.annotation is None]
        names += ["return"] * (function.returns is None)
        if names:
            yield f"line {function.lineno}: {function.name}: {', '.join(names)}"


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in ("__init__.py", "__main__.py"):  # the doors of the package
            yield path, parts[0].removesuffix(".py")


def test_every_room_has_its_place():
    assert sorted({room for _, room in modules()}) == sorted(ROOMS)


def test_every_module_has_a_test_file_of_its_name():
    """``tests/ROOM/test_MODULE.py`` tests ``sklinvariant/ROOM/_MODULE.py``."""
    without = set()
    for path in ROOT.rglob("*.py"):
        module = path.relative_to(ROOT)
        test = PROJECT / "tests" / module.parent / f"test_{module.stem.lstrip('_')}.py"
        if not module.stem.startswith("__") and not test.exists():
            without.add(module.as_posix())
    assert without == set(WITHOUT_TESTS)


def test_private_names_are_imported_in_one_module():
    paths = [*ROOT.rglob("*.py"), *(PROJECT / "tests").rglob("*.py"), *(PROJECT / "benchmarks").rglob("*.py")]
    found = {
        str(path): names
        for path in paths
        if path != ROOT / "_compat.py" and (names := list(private_names(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_rooms_import_the_public_names_of_earlier_rooms():
    found = {
        str(path): wrong
        for path, room in modules()
        if (wrong := list(wrong_imports(path.read_text(encoding="utf-8"), room)))
    }
    assert found == {}


def test_public_functions_and_methods_are_annotated():
    found = {
        str(path): names
        for path in ROOT.rglob("*.py")
        if (names := list(unannotated(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_a_missing_annotation_is_found():
    source = """
class A:
    def __init__(self, x: int): ...
    def f(self, x, *y: int) -> None: ...
    def _g(self, x): ...
    @staticmethod
    def h(x) -> None: ...
def f(*, x: int, **y) -> int: ...
"""
    assert list(unannotated(source)) == ["line 3: __init__: return", "line 4: f: x", "line 7: h: x", "line 8: f: y"]


@pytest.mark.parametrize(
    "line",
    [
        "from sklearn.base import _fit_context",
        "def f():\n    from sklearn.utils._param_validation import Interval",
        "import skorch._version",
    ],
)
def test_a_private_name_is_found(line):
    assert list(private_names(line))


@pytest.mark.parametrize(
    "line",
    [
        "from sklinvariant.ops._chunks import chunks",
        "from sklinvariant.ops import _chunks",
        "from sklinvariant.cluster import IICClusterer",
        "from sklinvariant import IICClusterer",
        "import sklinvariant.cluster",
    ],
)
def test_a_wrong_import_is_found(line):
    assert list(wrong_imports(line, "pairs"))


def test_every_estimator_is_importable_from_the_package():
    for name, cls in sklinvariant.all_estimators():
        assert name in sklinvariant.__all__
        assert getattr(sklinvariant, name) is cls


def test_the_guide_for_contributors_names_what_exists():
    guide = PROJECT / "CONTRIBUTING.md"
    if not guide.exists():
        pytest.skip("the guide is not part of the package")
    text = guide.read_text(encoding="utf-8")
    files = re.findall(r"[`(\s]((?:\w+/)+[\w.]+\.(?:py|md|rst))\b", text)
    assert len(files) > 5
    assert [file for file in files if not (PROJECT / file).exists()] == []
    rooms = re.search(r"in this order: (.*?)\.\s", text, re.DOTALL)[1]
    assert re.findall(r"`(\w+)`", rooms) == [room for room in ROOMS if not room.startswith("_")]


def test_towncrier_can_read_the_names_of_the_changelog_fragments():
    folder = PROJECT / "docs" / "changes"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    pattern = re.compile(r"\d+\.(feature|bugfix|doc|removal|misc)(\.\d+)?\.md")
    assert [name for name in names if not pattern.fullmatch(name)] == []
