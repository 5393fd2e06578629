"""The API reference shows every public name, and the HTML representation of estimators leads to it."""

import functools
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sklearn
from examples import ESTIMATORS, example
from sklearn.utils.fixes import parse_version

import sklinvariant
from sklinvariant._docstrings import _entries, _sections
from sklinvariant.networks import BatchNorm2d

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="installed without docs")
OF_TORCH = {"extra_repr"}  # methods that torch documents
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
    for room in sorted({*sklinvariant.PUBLIC_ROOMS, *SHARED_ROOMS}):
        yield from (pytest.param(found, id=f"{room}.{name}") for name, found in public_objects(room).items())


def methods(cls):
    """The public methods that a class has from this package."""
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        method = getattr(method, "__func__", getattr(method, "fn", method))
        if name[0] != "_" and inspect.isfunction(method) and method.__module__.startswith("sklinvariant."):
            yield method


def docstrings(found):
    """The docstring of a function, or those of a class and its methods."""
    for documented in (found, *methods(found)) if inspect.isclass(found) else (found,):
        yield documented.__name__, documented.__doc__


@pytest.mark.parametrize("found", list(documented()))
def test_functions_and_methods_are_documented(found):
    assert [name for name, doc in docstrings(found) if not doc and name not in OF_TORCH] == []


@pytest.mark.parametrize("found", list(documented()))
def test_entries_do_not_refer_to_another_place(found):
    for name, doc in docstrings(found):
        assert not re.search(r"\b(as|see) (above|below)\b", doc or "", flags=re.IGNORECASE), name
        for section in ("Parameters", "Attributes", "Returns", "Raises"):
            for entry in _entries(_sections(doc).get(section, "")).values():
                assert not re.search(r"\n\s*(As|See) (in |for )?`", entry), f"{name}: {entry}"


@pytest.mark.parametrize("found", list(documented()))
def test_formulas_are_written_as_mathematics(found):
    """Code style is for python expressions, parameters and shapes."""
    for name, doc in docstrings(found):
        prose = re.sub(r"^ *(>>>|\.\.\.).*$", "", doc or "", flags=re.MULTILINE)
        for literal in re.findall(r"``(.+?)``", prose, flags=re.DOTALL):
            assert not re.search(r"[^\W\d_a-zA-Z]|[Σ√‖′⁻½·−]", literal), f"{name}: {literal}"


@pytest.mark.parametrize("found", list(documented()))
def test_every_entry_has_a_type_and_a_description(found):
    sections = _sections(found.__doc__)
    for entry in (_entries(sections.get("Parameters", "")) | _entries(sections.get("Attributes", ""))).values():
        assert re.match(r"[\w*, ]+( : .+)?\n +\S", entry), entry
        assert not re.match(r"\w+ : object, default=\d", entry), entry


def public_classes():
    found = [parameters.values[0] for parameters in documented()]
    return [sklinvariant.DescriptorSets, *filter(inspect.isclass, found)]


@pytest.mark.parametrize("cls", public_classes())
def test_every_public_class_documents_the_arguments_of_its_constructor(cls):
    """All of them, and no others, with their defaults."""
    arguments = inspect.signature(cls).parameters
    entries = _entries(_sections(cls.__doc__).get("Parameters", ""))
    if cls is BatchNorm2d:  # its constructor is torch's, which has more arguments in later versions
        arguments = {name: argument for name, argument in arguments.items() if name in entries}
        assert {"num_features", "eps", "momentum", "affine", "track_running_stats"} <= arguments.keys()
    else:
        assert entries.keys() == arguments.keys()
    for name, argument in arguments.items():
        head = entries[name].partition("\n")[0]
        assert ("default=" in head) == (argument.default is not inspect.Parameter.empty), head


def public_functions(found):
    """A function, or the public methods of a class."""
    return [found] if inspect.isfunction(found) else [one for one in methods(found) if one.__name__ not in OF_TORCH]


def for_users():
    """The functions and classes of the public rooms."""
    return [one for one in documented() if one.id.startswith(sklinvariant.PUBLIC_ROOMS)]


@pytest.mark.parametrize("found", for_users())
def test_functions_and_methods_document_their_parameters(found):
    for function in public_functions(found):
        entries = _entries(_sections(function.__doc__).get("Parameters", ""))
        arguments = inspect.signature(function).parameters.keys() - {"self", "cls"}
        assert arguments - entries.keys() == set(), function.__name__


@pytest.mark.parametrize("found", for_users())
def test_functions_and_methods_document_their_results(found):
    for function in public_functions(found):
        result = inspect.signature(function).return_annotation
        if result not in (None, Iterator[None]):  # the latter are contexts
            assert _sections(function.__doc__).get("Returns"), function.__name__


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


def test_pages_can_be_read_on_github():
    """GitHub shows the roles and directives of MyST as they are written. Only the first page of the site has any.

    Other pages have only the directives of the navigation and of the changelog.
    Lines are wrapped at 140 characters. Numbers that are written from results may make them a little longer.
    """
    for path, text in written().items():
        if path.suffix == ".md" and path != DOCS / "index.md":
            prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
            assert not re.findall(r".*\{[\w:]+\}`.*", prose), path.name
            assert not re.findall(r"^(?:```|:::+)\{(?!toctree|include).*", text, flags=re.MULTILINE), path.name
            assert not [line for line in prose.splitlines() if len(line) > 150 and line[0] != "|"], path.name


def test_no_line_is_a_comment():
    """MyST leaves out lines that begin with a percent sign, such as a wrapped "81.9 %"."""
    for path, text in written().items():
        if path.suffix == ".md":
            assert not re.findall(r"^\s*%.*", text, flags=re.MULTILINE), path.name


def test_the_installation_page_lists_every_extra():
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", page[page.index("## Extras") :].split("\n## ")[0], re.MULTILINE)
    listed = [extra for names, _ in rows for extra in re.findall(r"`(\w+)`", names)]
    assert sorted(listed) == sorted(set(extras) - {"test", "lint", "docs"})
    together = re.findall(r"\w+", extras["all"][0].partition("[")[2])
    assert re.findall(r"`(\w+)`", dict(rows)["`all`"]) == together
