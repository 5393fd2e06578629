"""The command ``index``: its limits, and the earlier name of ``--output``."""

import pytest

from sklinvariant.cli._command_line import main, make_parser


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bits", "0"], "--bits must be at least 1, got 0"),
        (["--bits", "70000"], "--bits must be at most 65536, got 70000"),
        (["--image-size", "8"], "--image-size must be at least 16, got 8"),
        (["--rotations", "361"], "--rotations must be at most 360"),
        (["--scales", "0"], "--scales must be at least 1"),
    ],
)
def test_limits(words, message, capsys, tmp_path):
    assert main(["index", str(tmp_path), "--output", str(tmp_path / "o"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_earlier_name_of_the_output_is_kept():
    assert make_parser().parse_args(["index", "photos", "--out", "o"]).output == "o"
