"""The command ``query``: its arguments, and the earlier name of ``--output``."""

from pathlib import Path

import pytest

from sklinvariant.cli._command_line import main, make_parser
from sklinvariant.cli._query import _files_of


def test_the_earlier_name_of_the_output_is_kept_and_hidden(capsys):
    parser = make_parser()
    assert parser.parse_args(["query", "o", "a.png", "--html", "a.html"]).output == "a.html"
    assert parser.parse_args(["query", "o", "a.png"]).output is None
    with pytest.raises(SystemExit):
        main(["query", "--help"])
    assert "--html" not in capsys.readouterr().out


def test_at_least_one_neighbor(capsys):
    assert main(["query", "o", "a.png", "--neighbors", "0"]) == 2
    assert "--neighbors must be at least 1, got 0" in capsys.readouterr().err


def test_a_folder_stands_for_its_images(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "notes.txt", "b.jpg"):
        (tmp_path / name).touch()
    assert _files_of([tmp_path, Path("c.png")]) == [str(tmp_path / "a.png"), str(tmp_path / "b.jpg"), "c.png"]
    assert main(["query", "o", str(tmp_path / "empty")]) == 2
    assert "empty is a folder without images. Pass image files" in capsys.readouterr().err
