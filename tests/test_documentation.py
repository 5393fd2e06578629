"""The API reference shows every public name, and the HTML representation of estimators leads to it."""

import functools
import importlib
import inspect
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sklearn
from examples import ESTIMATORS, example
from sklearn.utils.fixes import parse_version

import sklinvariant
from sklinvariant.base._docstrings import _entries, _sections

PROJECT = Path(__file__).parents[1]
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
        if room not in SHARED_ROOMS:
            yield from (pytest.param(found, id=f"{room}.{name}") for name, found in public_objects(room).items())


@pytest.mark.parametrize("found", list(documented()))
def test_entries_do_not_refer_to_another_page(found):
    sections = _sections(found.__doc__)
    for entry in (_entries(sections.get("Parameters", "")) | _entries(sections.get("Attributes", ""))).values():
        assert not re.search(r"\n\s*(As|See) (in |for )?`", entry), entry


@pytest.mark.parametrize("found", list(documented()))
def test_every_entry_has_a_type_and_a_description(found):
    sections = _sections(found.__doc__)
    for entry in (_entries(sections.get("Parameters", "")) | _entries(sections.get("Attributes", ""))).values():
        assert re.match(r"[\w*, ]+( : .+)?\n +\S", entry), entry
        assert not re.match(r"\w+ : object, default=\d", entry), entry


@functools.cache
def fitted_example(name):
    estimator, X, y = example(name)
    return estimator.fit(X, y)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_html_representation_leads_to_the_documentation(name):
    html = fitted_example(name)._repr_html_()
    site = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Documentation"]
    link = re.escape(site) + rf"/api/sklinvariant\.(\w+\.{name})\.html"
    (page,) = set(re.findall(f'href="{link}"', html))
    assert page in (DOCS / "api.rst").read_text(encoding="utf-8").split()


@pytest.mark.skipif(parse_version(sklearn.__version__) < parse_version("1.9"), reason="new in scikit-learn 1.9")
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_html_representation_describes_parameters_and_attributes(name):
    estimator = fitted_example(name)
    html = estimator._repr_html_()
    attributes = [attribute for attribute in dir(estimator) if attribute.endswith("_") and attribute[0] != "_"]
    shown = [attribute for attribute in attributes if hasattr(estimator, attribute)]
    described = set(re.findall(r"position-anchor: --doc-link-(\w+);", html))
    assert {*estimator.get_params(deep=False), *shown} <= described


def written():
    """README.md and the sources of the documentation."""
    files = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    files += [path for suffix in ("*.md", "*.rst", "examples/*/*") for path in DOCS.glob(suffix)]
    return {path: path.read_text(encoding="utf-8") for path in files if path.exists()}


def test_links_to_other_sites_are_well_formed():
    found = [(path.name, link) for path, text in written().items() for link in re.findall(r"https?:[^\s)>`\"']+", text)]
    assert len(found) > 50
    for name, link in found:
        parts = urlsplit(link)
        assert parts.scheme == "https", f"{name}: {link}"
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), f"{name}: {link}"
        assert not link.endswith((".", ",")), f"{name}: {link}"


def test_links_to_files_and_headings_lead_somewhere():
    """Those that GitHub shows; sphinx checks the links between its pages as well."""
    texts = written()
    for path, text in texts.items():
        for target, heading in (
            re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text) if path.suffix == ".md" else ()
        ):
            there = (path.parent / target).resolve() if target else path
            assert there.exists(), f"{path.name}: {target}"
            if heading and there in texts:
                titles = re.findall(r"^#+ (.*)", texts[there], flags=re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert heading in slugs, f"{path.name}: {target}#{heading}"
