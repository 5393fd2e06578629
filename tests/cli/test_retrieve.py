"""The command ``retrieve``."""

from sklinvariant.cli._command_line import main


def test_retrieve(tmp_path, capsys):
    assert main(["retrieve", "--max-images", "20", "--output", str(tmp_path / "a.png")]) == 0
    assert "nested pooling" in capsys.readouterr().out
    assert (tmp_path / "a.png").stat().st_size > 10_000
