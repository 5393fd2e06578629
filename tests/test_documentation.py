"""The API reference shows every public name, and the HTML representation of estimators leads to it."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import sklinvariant
from sklinvariant.base._docstrings import _entries, _sections

PROJECT = Path(sklinvariant.__file__).parents[1]
DOCS = PROJECT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="installed without docs")
SHARED_ROOMS = ("accumulate", "ops", "pairs", "training")  # a page documents all names of these


def public_objects(room):
    module = importlib.import_module(f"sklinvariant.{room}")
    objects = {name: getattr(module, name) for name in module.__all__}
    return {name: found for name, found in objects.items() if inspect.isclass(found) or inspect.isfunction(found)}


@pytest.mark.parametrize("room", sorted({*sklinvariant.PUBLIC_ROOMS, *SHARED_ROOMS}))
def test_every_public_name_is_in_the_api_reference(room):
    if room in SHARED_ROOMS:
        assert f".. automodule:: sklinvariant.{room}\n" in (DOCS / "building_blocks.rst").read_text(encoding="utf-8")
        missing = [name for name, found in public_objects(room).items() if not found.__doc__]
    else:
        listed = (DOCS / "api.rst").read_text(encoding="utf-8").split()
        missing = [name for name in public_objects(room) if f"{room}.{name}" not in listed]
    assert not missing


def test_every_name_of_the_package_is_in_the_api_reference():
    listed = {name.rpartition(".")[2] for name in (DOCS / "api.rst").read_text(encoding="utf-8").split()}
    assert set(sklinvariant.__all__) - listed - set(sklinvariant.PUBLIC_ROOMS) == {"__version__"}


def documented():
    for room in sklinvariant.PUBLIC_ROOMS:
        if room not in ("networks", *SHARED_ROOMS):
            yield from (pytest.param(found, id=f"{room}.{name}") for name, found in public_objects(room).items())


@pytest.mark.parametrize("found", list(documented()))
def test_entries_do_not_refer_to_another_page(found):
    sections = _sections(found.__doc__)
    for entry in (_entries(sections.get("Parameters", "")) | _entries(sections.get("Attributes", ""))).values():
        assert not re.search(r"\n\s*(As|See) (in |for )?`", entry), entry
