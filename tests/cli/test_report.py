"""Pages: links that survive a moved folder, nothing is injected, nothing is shown that is not in the index."""

import os
import shutil
from pathlib import Path
from urllib.parse import urljoin, urlparse
from urllib.request import url2pathname

import pytest
from photographs import parse_page, write_images

from sklinvariant.cli._photo_index import Answer
from sklinvariant.cli._report import write_clusters, write_report

_HOSTILE = ["<script>alert(1)</script>.png", '"><img src=x onerror=alert(1)>.png', "</title><svg onload=alert(1)>"]


def _cluster(*names):
    photographs = [{"file": name, "certainty": 0.5} for name in names]
    return {"cluster": 0, "certainty": 0.5 if names else None, "mixed": False, "photographs": photographs}


@pytest.mark.parametrize("name", _HOSTILE)
def test_nothing_is_injected_into_pages(name, tmp_path):
    page = tmp_path / "page.html"
    write_report(page, Answer({name: [(3, name)]}, {name: {name: name}}, [(name, name)], {name: name}, name))
    assert parse_page(page).images == [""]  # of the query, which is not there; the other is named alone
    write_report(page, Answer({name: [(3, name)]}, {name: {}}, [], {}, name))
    parse_page(page)
    write_clusters(page, tmp_path / name, [_cluster(name), _cluster()], [(name, name)], n_shown=name and 1)
    parse_page(page)
    assert "Content-Security-Policy" in page.read_text(encoding="utf-8")


def _targets(page):
    """The files that a browser opens for the links of a page."""
    addresses = [urlparse(urljoin(page.as_uri(), link)) for link in parse_page(page).links]
    assert {address.scheme for address in addresses} <= {"file"}
    return [Path(url2pathname(address.path)) for address in addresses]


_NAMES = ["a b.png", "100%.png", "question?.png", "hash#1.png", "quote'.png", "javascript:alert(1).png", "日本.png"]


@pytest.fixture
def moved(tmp_path):
    """A folder with photographs and pages about them, moved to another place after the pages were written."""
    folder, names = tmp_path / "before", [*_NAMES, 'quote".png', "<b>.png", "new\nline.png"]
    write_images(folder / "photos" / "deeper", len(names))
    for i, name in enumerate(names):
        try:
            (folder / "photos" / "deeper" / f"{i}.png").rename(folder / "photos" / "deeper" / name)
        except OSError:  # such names do not exist on Windows
            names = [other for other in names if other != name]
    files = [str(folder / "photos" / "deeper" / name) for name in names]
    (folder / "pages").mkdir()
    write_report(
        folder / "pages" / "a.html", Answer({files[0]: [(0, file) for file in files]}, {files[0]: {}}, [], {}, 8)
    )
    clusters = [_cluster(*(f"deeper/{name}" for name in names))]
    write_clusters(folder / "b.html", folder / "photos", clusters, [], n_shown=99)
    shutil.move(folder, tmp_path / "after")
    return tmp_path / "after", names


def test_links_survive_a_moved_folder(moved):
    folder, names = moved
    for page, expected in (("pages/a.html", [names[0], *names]), ("b.html", names)):
        targets = _targets(folder / page)
        assert [target.name for target in targets] == expected
        for target in targets:
            assert target.resolve().is_file()
            assert folder.resolve() in target.resolve().parents
        assert "if you move the page, move the photographs with it" in (folder / page).read_text(encoding="utf-8")


def test_names_that_are_no_text_are_linked(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system does not allow such names")
    write_report(tmp_path / "a.html", Answer({str(tmp_path / name): []}, {str(tmp_path / name): {}}, [], {}, 8))
    assert parse_page(tmp_path / "a.html").links == ["caf%E9.png"]


def test_what_is_not_shown_is_not_linked(tmp_path):
    """An index from someone else may name private files: a link would lead there."""
    write_images(tmp_path / "photos", 2)
    query, other = (str(tmp_path / "photos" / f"{i}.png") for i in range(2))
    write_report(tmp_path / "a.html", Answer({query: [(1, other)]}, {query: {}}, [], {other: "changed"}, 8))
    assert parse_page(tmp_path / "a.html").links == ["photos/0.png"]
