"""The command ``query``: its arguments, and the earlier name of ``--output``."""

import pytest

from sklinvariant.cli._command_line import main, make_parser


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
