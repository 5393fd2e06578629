"""Pages: nothing is injected, and nothing is shown that is not in the index."""

import pytest
from photographs import parse_page

from sklinvariant.cli._photo_index import Answer
from sklinvariant.cli._report import write_clusters, write_report

_HOSTILE = ["<script>alert(1)</script>.png", '"><img src=x onerror=alert(1)>.png', "</title><svg onload=alert(1)>"]


@pytest.mark.parametrize("name", _HOSTILE)
def test_nothing_is_injected_into_pages(name, tmp_path):
    page = tmp_path / "page.html"
    write_report(page, Answer({name: [(3, name)]}, {name: {name: name}}, [(name, name)], {name: name}, name))
    assert parse_page(page).images == [""]  # of the query, which is not there; the other is named alone
    write_report(page, Answer({name: [(3, name)]}, {name: {}}, [], {}, name))
    parse_page(page)
    write_clusters(page, tmp_path / name, [[(name, 0.5)], []], [(name, name)], n_shown=name and 1)
    parse_page(page)
    assert "Content-Security-Policy" in page.read_text(encoding="utf-8")
