"""Commands never write over files of the user: they refuse foreign files, other formats, links and devices."""

import os

import pytest

from sklinvariant.cli._command_line import main
from sklinvariant.cli._outputs import FIGURE, PAGE, TABLE, check_output, save_figure, write_table
from sklinvariant.cli._photo_index import Answer
from sklinvariant.cli._report import write_clusters, write_report


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files that a user would miss, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.png", "results.csv", "page.html", "notes.txt", "photos/d.png"):
        (tmp_path / name).write_bytes(f"the user's {name}".encode())
    return tmp_path


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query", "index", "--output", "a.jpg", "b.jpg"], "--output a.jpg: the name must end in .html or .htm"),
        (["query", "index", "a.jpg", "--output", "new.png"], "--output new.png: the name must end in .html or .htm"),
        (["query", "index", "a.jpg", "--output", ""], "--output .: the name must end in .html or .htm"),
        (["query", "index", "a.jpg", "--output", "page.html"], "page.html exists and was not written by this program"),
        (["cluster", "photos", "--output", "c.png"], "c.png: the name must end in .html or .htm"),
        (["cluster", "photos", "--output", "results.html"], "results.csv exists and was not written by this program"),
        (["cluster", "photos", "--output", "page.html"], "page.html exists and was not written by this program"),
        (["cluster", "--output", "c.png"], "c.png exists and was not written by this program"),
        (["cluster", "--output", "digits.html"], "digits.html: the name must end in .png"),
        (["tour", "--output", "c.png"], "overwrite it with --force"),
        (["aggregation", "--output", "c.png"], "c.png exists"),
        (["retrieve", "--output", "c.png"], "c.png exists"),
        (["pool", "--output", "c.png"], "c.png exists"),
        (["pool", "--output", "notes.txt", "--force"], "notes.txt: the name must end in .png"),
        (["tour", "--output", "folder.png"], "folder.png is a folder or a device"),
    ],
)
def test_files_of_the_user_stay(words, message, folder, capsys):
    (folder / "folder.png").mkdir()
    before = _contents(folder)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert _contents(folder) == before


def _figure():
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed").Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    return figure


def _page(path):
    write_report(path, Answer({}, {}, [("a.png", "cannot be read")], {}, 8))


def _clusters(path):
    write_clusters(path, path.parent, [], [], n_shown=1)


_WRITERS = [(suffix, FIGURE, lambda path: save_figure(_figure(), path, dpi=50)) for suffix in FIGURE]
_WRITERS += [(".html", PAGE, _page), (".htm", PAGE, _clusters)]
_WRITERS += [(".csv", TABLE, lambda path: write_table(path, [["a.png", 0, "0.5"]]))]


@pytest.mark.parametrize(("suffix", "kinds", "write"), _WRITERS, ids=[suffix for suffix, *_ in _WRITERS])
def test_own_files_are_replaced_without_asking(suffix, kinds, write, tmp_path):
    path = tmp_path / f"out{suffix}"
    write(check_output("--output", path, kinds))
    written = path.read_bytes()
    write(check_output("--output", path, kinds))
    assert path.read_bytes()
    path.write_bytes(b"another" + written[4096:-4096])
    with pytest.raises(FileExistsError, match="was not written by this program"):
        check_output("--output", path, kinds)
    write(check_output("--output", path, kinds, force=True))
    assert len(path.read_bytes()) > len(written) / 2
    assert os.listdir(tmp_path) == [path.name]


def test_links_are_replaced_not_followed(tmp_path):
    """A link is not written through, even if it leads to a page of our own, and even with --force."""
    page, link = tmp_path / "page.html", tmp_path / "link.html"
    _page(page)
    before = page.read_bytes()
    for target in (page, tmp_path / "nowhere"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(FileExistsError, match="is a link"):
            check_output("--html", link, PAGE)
    link.unlink()
    link.symlink_to(page)
    _clusters(check_output("--html", link, PAGE, force=True))
    assert not link.is_symlink()
    assert page.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_devices_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.html")
    with pytest.raises(FileExistsError, match="is a folder or a device"):
        check_output("--html", tmp_path / "pipe.html", PAGE, force=True)


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path, figure = tmp_path / "out.png", _figure()
    save_figure(figure, path, dpi=50)
    before = path.read_bytes()

    def full(file, **settings):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        save_figure(figure, path, dpi=50)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.png"]


def test_every_command_that_writes_knows_force(capsys):
    for command in ("tour", "aggregation", "retrieve", "pool", "cluster", "query"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--force" in capsys.readouterr().out
