"""Write the tables of docs/benchmarks.md from the results in benchmarks/results.

    python benchmarks/tables.py [--check]

A table is between the lines ``<!-- table: NAME -->`` and ``<!-- end -->``, and is generated from
``benchmarks/results/NAME.json``. To publish new figures, run a benchmark with ``--json benchmarks/results``, then this
script, and compare the text of the page with the new tables. With ``--check`` nothing is written, and the exit status
is 1 if a table differs from its result.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from measuring import table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
TABLE = re.compile(r"(?<=^<!-- table: )([\w-]+)( -->\n).*?(?=^<!-- end -->$)", re.MULTILINE | re.DOTALL)


def names(text):
    """The names of the tables of a page, in order."""
    return [match[1] for match in TABLE.finditer(text)]


def with_tables(text, folder=RESULTS):
    """The page with each table replaced by its result."""

    def replaced(match):
        result = json.loads((folder / f"{match[1]}.json").read_text(encoding="utf-8"))
        return f"{match[1]}{match[2]}{table(result['columns'], result['rows'])}\n"

    return TABLE.sub(replaced, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table differs")
    args = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    new = with_tables(text)
    if args.check:
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
