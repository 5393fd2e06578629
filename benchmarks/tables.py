"""Write the tables of docs/benchmarks*.md, and the numbers of sentences in the documentation, from benchmarks/results.

    python benchmarks/tables.py [--check]

A table is between the lines ``<!-- table: NAME -->`` and ``<!-- end -->``, and is generated from
``benchmarks/results/NAME.json``. ``benchmarks/sentences.toml`` lists the sentences whose numbers are cells of these
tables. To publish new figures, run a benchmark with ``--json benchmarks/results``, then this script, and compare the
text of the pages with the new numbers. With ``--check`` nothing is written, and the exit status is 1 if a page differs
from the results.
"""

import argparse
import json
import re
import statistics
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

from measuring import table

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("benchmarks*.md"))
RESULTS = ROOT / "benchmarks" / "results"
SENTENCES = ROOT / "benchmarks" / "sentences.toml"
TABLE = re.compile(r"(?<=^<!-- table: )([\w-]+)( -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"\{([^{}]+) \| ([^{}]+)\}")  # the row and the column of a number in a sentence
NUMBER = r"(?<![\d.,])(\d[\d,]*(?:\.\d+)?|\.\d+)"


def names(text):
    """The names of the tables of a page, in order."""
    return [match[1] for match in TABLE.finditer(text)]


def read(name, folder=RESULTS):
    """The result with this name."""
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def with_tables(text, folder=RESULTS):
    """The page with each table replaced by its result."""

    def replaced(match):
        result = read(match[1], folder)
        return f"{match[1]}{match[2]}{table(result['columns'], result['rows'])}\n"

    return TABLE.sub(replaced, text)


def with_numbers(text, sentences, folder=RESULTS):
    """The page with the numbers of its sentences replaced by the results. Sentences are listed by the name of a table.

    A number is written with as many decimals as the one that it replaces.
    """
    for name, templates in sentences.items():
        result = read(name, folder)
        for template in templates:
            place = only_place(text, template)
            parts = list(place.groups())  # words and numbers in turn
            numbers = (value(result, row, column) for row, column in CELL.findall(template))
            parts[1::2] = [written(number, old) for number, old in zip(numbers, parts[1::2], strict=True)]
            text = text[: place.start()] + "".join(parts) + text[place.end() :]
    return text


def only_place(text, template):
    """The match of a sentence with any numbers and line breaks, whose groups are its words and numbers in turn."""
    words = [re.sub(r"(\\\s)+", r"\\s+", re.escape(part)) for part in CELL.split(template)[::3]]
    places = list(re.finditer(f"({f'){NUMBER}('.join(words)})", text))
    if len(places) != 1:
        raise ValueError(f"the page has {len(places)} sentences {template!r}. Correct {SENTENCES.name} or the page.")
    return places[0]


def value(result, row, column):
    """The number in the only row that matches a pattern, and in the columns that do; the mean over several columns.

    The pattern of a row matches its first cell, or its first cells with " | " between them.
    """
    rows = [cells for cells in result["rows"] if fnmatchcase(" | ".join(cells), f"{row} | *")]
    if len(rows) != 1:
        raise ValueError(f"{result['name']} has {len(rows)} rows {row!r}. Correct {SENTENCES.name}.")
    cells = [cell for name, cell in zip(result["columns"], rows[0], strict=True) if fnmatchcase(name, column)]
    if not cells:
        raise ValueError(f"{result['name']} has no column {column!r}. Correct {SENTENCES.name}.")
    return statistics.fmean(float(re.search(NUMBER, cell)[1].replace(",", "")) for cell in cells)


def written(number, old):
    """A number with as many decimals as the old one."""
    return f"{number:,.{len(old.partition('.')[2])}f}"


def pages(folder=RESULTS):
    """The pages with tables or numbers, and what they contain according to the results."""
    sentences = {ROOT / page: found for page, found in tomllib.loads(SENTENCES.read_text(encoding="utf-8")).items()}
    for path in [*PAGES, *(path for path in sentences if path not in PAGES)]:
        text = with_tables(path.read_text(encoding="utf-8"), folder)
        yield path, with_numbers(text, sentences.get(path, {}), folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page differs")
    args = parser.parse_args()
    changed = {path: text for path, text in pages() if text != path.read_text(encoding="utf-8")}
    if args.check:
        return int(bool(changed))
    for path, text in changed.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
