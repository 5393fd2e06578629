"""The command ``duplicates``: groups, page, table, document, and files that are left as they are."""

import csv
import json

import numpy as np
import pytest
from photographs import parse_page

from sklinvariant.cli._command_line import main

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
pytest.importorskip("faiss", reason="faiss is not installed")


@pytest.fixture
def photos(tmp_path):
    """Two groups, a photograph without duplicates and a broken file."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    one, other, single = (cv2.resize(image, (200, 150)) for image in (data.astronaut(), data.coffee(), data.rocket()))
    images = {"a.png": one, "deeper/=b.png": np.rot90(one), "c.png": other, "d.jpg": other[:, ::-1], "e.png": single}
    for name, image in images.items():
        cv2.imwrite(str(folder / name), image)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    return folder


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_groups_of_a_folder(photos, tmp_path, capsys):
    page, before = tmp_path / "page.html", _contents(photos)
    assert main(["duplicates", str(photos), "--output", str(page)]) == 0
    printed = capsys.readouterr()
    assert "4 of 5 photographs are in 2 groups" in printed.out
    assert "skipped: 1\n  broken.jpg" in printed.err
    assert printed.err.count("broken.jpg") == 2  # the name and the reason
    assert len(parse_page(page).images) == 4
    with open(tmp_path / "page.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    groups = [{row["image"] for row in rows if row["group"] == group} for group in "01"]
    assert sorted(map(sorted, groups)) == [["a.png", "deeper/=b.png"], ["c.png", "d.jpg"]]
    assert _contents(photos) == before
    assert main(["duplicates", str(photos), "--output", str(page)]) == 0  # its own files are replaced


def test_the_document(photos, tmp_path, capsys):
    assert main(["duplicates", str(photos), "--output", str(tmp_path / "page.html"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [[file["file"] for file in group] for group in document["groups"]] == [
        ["a.png", "deeper/=b.png"],
        ["c.png", "d.jpg"],
    ]
    sizes = [[file["bytes"] for file in group] for group in document["groups"]]
    assert sizes == [sorted(group, reverse=True) for group in sizes]
    assert sizes[1][0] == (photos / "c.png").stat().st_size
    assert [row["file"] for row in document["skipped"]] == ["broken.jpg"]
    assert (document["page"], document["table"]) == (str(tmp_path / "page.html"), str(tmp_path / "page.csv"))


def test_no_duplicates(photos, tmp_path, capsys):
    for name in ("a.png", "c.png", "broken.jpg"):
        (photos / name).unlink()
    assert main(["duplicates", str(photos), "--output", str(tmp_path / "page.html")]) == 0
    assert "0 of 3 photographs are in 0 groups" in capsys.readouterr().out
    assert parse_page(tmp_path / "page.html").images == []


def test_bad_arguments(photos, tmp_path, capsys):
    page = str(tmp_path / "page.html")
    assert main(["duplicates", "nowhere", "--output", page]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "bare").mkdir()
    assert main(["duplicates", str(tmp_path / "bare"), "--output", page]) == 2
    assert "contains no images" in capsys.readouterr().err
    wrong = [("overlap", "2.0"), ("overlap", "nan"), ("similarity", "-0.1"), ("contrast", "0.0"), ("contrast", "inf")]
    for option, value in [*wrong, ("jobs", "0")]:
        assert main(["duplicates", str(photos), "--output", page, f"--{option}", value]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"sklinvariant: --{option} must be ")
        assert error.endswith(f", got {value}\n")
    (tmp_path / "page.csv").write_text("mine")
    assert main(["duplicates", str(photos), "--output", page]) == 2
    assert "was not written by this program" in capsys.readouterr().err
