"""The tables and the numbers of the documentation agree with the results of the benchmarks."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the benchmarks are not part of the package")
ROWS = [["here", "1,000", "12.3 ± 0.4", "**5.6**"], ["here", "2,000", "1,757 MB", "9"], ["peer", "1,000", "2 s", ""]]


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("tables")


@pytest.fixture
def results(tables, tmp_path):
    """A folder with the result "speed"."""
    columns = ["by", "rows", "digits, time", "wine, time"]
    importlib.import_module("measuring").write(tmp_path, {"name": "speed", "columns": columns, "rows": ROWS})
    return tmp_path


def test_the_pages_have_all_tables(tables):
    text = "\n".join(path.read_text(encoding="utf-8") for path in tables.PAGES)
    names = tables.names(text)
    assert sorted(names) == sorted(path.stem for path in tables.RESULTS.glob("*.json"))
    assert text.count("<!-- table: ") == text.count("<!-- end -->") == len(names)


def test_all_pages_agree_with_the_results(tables):
    new = dict(tables.pages())
    assert new.keys() > set(tables.PAGES)
    for path, text in new.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `python benchmarks/tables.py`"


def test_every_table_of_the_pages_has_a_result(tables):
    for path in tables.PAGES:
        text = tables.TABLE.sub("", path.read_text(encoding="utf-8"))
        assert not [line for line in text.splitlines() if line.startswith("|")], path.name


def test_a_changed_result_changes_its_table(tables, results):
    page = "before\n\n<!-- table: speed -->\n| old |\n|---|\n<!-- end -->\n\nafter\n"
    new = tables.with_tables(page, results)
    assert "|---|---|---|---|\n| here | 1,000 | 12.3 ± 0.4 | **5.6** |\n" in new
    assert new.startswith("before\n\n<!-- table: speed -->\n| by |")
    assert new.endswith("| peer | 1,000 | 2 s | |\n<!-- end -->\n\nafter\n")
    assert tables.with_tables(new, results) == new


@pytest.mark.parametrize(
    ("old", "sentence", "new"),
    [
        (
            "takes 99.9 s,\n  of 8.8",
            "takes {here | 1,000 | digits*} s, of {here | 1,000 | wine*}",
            "takes 12.3 s,\n  of 5.6",
        ),
        ("**7** ms (a*b)", "**{here | 1,000 | digits, time}** ms (a*b)", "**12** ms (a*b)"),
        ("a mean of 7.77 s", "mean of {here | 1,000 | *time} s", "a mean of 8.95 s"),
        ("in 1 MB.", "in {*2,000 | digits*} MB.", "in 1,757 MB."),
        ("| peer | .12 |", "| peer | {peer | digits*} |", "| peer | 2.00 |"),
    ],
)
def test_a_changed_result_changes_the_numbers_of_a_sentence(tables, results, old, sentence, new):
    page = f"100 before {old} 100 after\n"
    changed = tables.with_numbers(page, {"speed": [sentence]}, results)
    assert changed == f"100 before {new} 100 after\n"
    assert tables.with_numbers(changed, {"speed": [sentence]}, results) == changed


@pytest.mark.parametrize(
    ("sentence", "error"),
    [
        ("it took {peer | digits*} s", "the page has 0 sentences"),
        ("takes {peer | digits*} s", "the page has 2 sentences"),
        ("A takes {here | digits*} s", "speed has 2 rows 'here'"),
        ("A takes {other | digits*} s", "speed has 0 rows 'other'"),
        ("A takes {peer | time} s", "speed has no column 'time'"),
    ],
)
def test_sentences_are_not_guessed(tables, results, sentence, error):
    with pytest.raises(ValueError, match=error):
        tables.with_numbers("A takes 1 s, B takes 2 s", {"speed": [sentence]}, results)
