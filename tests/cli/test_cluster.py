"""The command ``cluster``: pages, tables and figures, skipped files and error messages."""

import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from tolerance import assert_close

from sklinvariant.cli import _certainty as _certainty
from sklinvariant.cli import _cluster as _cluster
from sklinvariant.cli._command_line import main

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

_QUICK = ["--image-size", "32", "--clusters", "2"]


def _image(kind, rng):
    """A reddish disc or bluish stripes."""
    noise = rng.randint(0, 60, (48, 40 + rng.randint(9), 3))
    if kind:
        noise[:, :: rng.randint(4, 7), 0] += 180
    else:
        cv2.circle(image := np.zeros((48, noise.shape[1], 3)), (20, 24), int(rng.randint(8, 16)), (0, 0, 190), -1)
        noise += image.astype(int)
    return noise.astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """30 images of two kinds, a broken image, an empty file and a text file."""
    folder, rng = tmp_path / "photos", np.random.RandomState(0)
    (folder / "deeper").mkdir(parents=True)
    for i in range(15):
        cv2.imwrite(str(folder / f"red {i:02d}.png"), _image(0, rng))
        cv2.imwrite(str(folder / "deeper" / f"blue {i:02d}.png"), _image(1, rng))
    (folder / "deeper" / "broken.jpg").write_bytes(b"\xff\xd8\xff not an image")
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not an image")
    return folder


def _table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _found(rows):
    """How many of the photographs are in the cluster of their kind."""
    together = sum((row["cluster"] == "0") == ("red" in row["image"]) for row in rows)
    return max(together, len(rows) - together)


def test_a_page_and_a_table(photos, tmp_path, capsys):
    page = tmp_path / "out.html"
    assert main(["cluster", str(photos), "--output", str(page), *_QUICK, "--shown", "4"]) == 0
    printed = capsys.readouterr()
    sizes = sorted(map(int, re.search(r"30 photographs in 2 clusters: (\d+), (\d+)\n", printed.out).groups()))
    assert sizes[0] >= 13
    assert sum(sizes) == 30
    assert re.search(r"skipped: 2\n.*broken\.jpg: .*\n.*empty\.png: ", printed.err)
    rows = _table(tmp_path / "out.csv")
    assert len(rows) == 30
    assert _found(rows) >= 28
    assert all(0.7 <= float(row["certainty"]) < 1 for row in rows)  # two clear kinds, and nothing is sure
    assert len(re.findall(r"[78]\d%", re.search("certainty of the clusters: (.*)", printed.out)[1])) == 2
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == text.count("<figure") == 8
    assert text.count("photographs, of which the 4 most certain are shown") == 2
    first, second = text.split("<h2>")[1:]
    assert len(re.findall(r"certainty [78]\d%</b>red", first)) in (0, 4)  # all or none
    assert "broken.jpg: " in second
    assert main(["cluster", str(photos), "--output", str(page), *_QUICK]) == 0
    again = _table(tmp_path / "out.csv")
    assert [row["image"] for row in again] == [row["image"] for row in rows]
    assert sum(one["cluster"] == other["cluster"] for one, other in zip(again, rows, strict=True)) >= 28
    assert_close(*([float(row["certainty"]) for row in table] for table in (again, rows)), atol=0.01)
    assert page.read_text().count("<figure") == 24


def test_mixed_clusters_are_called_mixed(photos, tmp_path, capsys, monkeypatch):
    """On the page, in the document and in what is printed. The certainties are in the table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_certainty, "certainties", lambda features, labels, *_: np.where(labels == 1, 0.3, 0.7))
    assert main(["cluster", "photos", *_QUICK, "--json"]) == 0
    printed = capsys.readouterr()
    clusters = json.loads(printed.out)["clusters"]
    assert [(round(one["certainty"], 6), one["mixed"]) for one in clusters] == [(0.7, False), (0.3, True)]
    assert "certainty of the clusters: 70%, 30% (mixed)" in printed.err
    first, second = (tmp_path / "clusters.html").read_text().split("<h2>")[1:]
    assert "certainty 70%</h2>" in first
    assert "certainty 30% (mixed)</h2>" in second
    assert all(row["certainty"] == ("0.7000", "0.3000")[int(row["cluster"])] for row in _table("clusters.csv"))


def test_a_photograph_alone_in_its_cluster_has_no_certainty(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_cluster, "_clusters", lambda features, arguments: (1 * (np.arange(len(features)) == 4), 0.5))
    assert main(["cluster", "photos", *_QUICK, "--json"]) == 0
    printed = capsys.readouterr()
    many, single = json.loads(printed.out)["clusters"]
    assert many["certainty"] > 0.19
    assert single["certainty"] is single["photographs"][0]["certainty"] is None
    assert not single["mixed"]
    assert re.search(r"certainty of the clusters: \d+%.*, none\n", printed.err)
    assert (tmp_path / "clusters.html").read_text().count("certainty none<") == 2  # the cluster and its photograph
    assert sum(row["certainty"] == "" for row in _table("clusters.csv")) == 1


def test_a_table_of_an_earlier_version_is_replaced(photos, tmp_path):
    (tmp_path / "out.csv").write_bytes(b"image,cluster,probability\r\na.png,0,1.0000\r\n")
    assert main(["cluster", str(photos), "--output", str(tmp_path / "out.html"), *_QUICK]) == 0
    assert len(_table(tmp_path / "out.csv")) == 30


def test_with_pretrained_weights(photos, tmp_path, shared_data):
    weights = shared_data / "weights" / "squeezenet_v1.1_imagenet_notop.npz"
    words = ["cluster", str(photos), "--output", str(tmp_path / "out.html"), "--weights", str(weights), *_QUICK]
    assert main(words) == 0
    assert _found(_table(tmp_path / "out.csv")) >= 28


def test_warnings_are_printed_as_lines(tmp_path, capsys):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 40, 3), 99, np.uint8))
    assert main(["cluster", str(tmp_path), "--output", str(tmp_path / "out.html"), *_QUICK]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^sklinvariant: IICClusterer: .*never left the uniform solution", printed.err, re.M)
    assert "4 photographs in 2 clusters: " in printed.out
    assert len(_table(tmp_path / "out.csv")) == 4


def test_undecodable_names(photos, tmp_path):
    try:
        (photos / "red 00.png").rename(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system does not allow such names")
    done = subprocess.run(
        [sys.executable, "-m", "sklinvariant", "cluster", photos, "--output", tmp_path / "out.html", *_QUICK],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert any(r"caf\udce9" in row["image"] for row in _table(tmp_path / "out.csv"))
    assert (tmp_path / "out.html").read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 24


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "there is no folder"),
        (["."], "contains no images"),
        ([".", "--clusters", "1"], "--clusters must be at least 2"),
        ([".", "--shown", "0"], "--shown at least 1"),
        ([".", "--image-size", "8"], "--image-size at least 16"),
        ([".", "--output", "no/such/a.html"], "--output no/such/a.html: there is no folder"),
        ([".", "--output", "a.csv"], "must end in .html or .htm"),
        (["few"], "only 2 of 3 images in .* can be read, which is too few for --clusters 8"),
        (["bad"], "none of 3 images can be read"),
        (["few", "--weights", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_arguments(words, message, capsys, tmp_path, monkeypatch):
    (tmp_path / "work" / "few").mkdir(parents=True)
    (tmp_path / "work" / "bad").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    if words[0] != ".":
        for i in range(3):
            (tmp_path / "work" / "bad" / f"{i}.png").write_bytes(b"bad")
        cv2.imwrite("few/a.png", np.zeros((20, 20, 3), np.uint8))
        cv2.imwrite("few/b.png", np.full((20, 20), 200, np.uint8))
        (tmp_path / "work" / "few" / "c.png").touch()
    assert main(["cluster", *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.parametrize("words", [["tour"], ["aggregation"], ["retrieve"], ["pool"]])
def test_missing_matplotlib_is_reported_before_computing(words, capsys, monkeypatch):
    def computes(*args, **kwargs):
        raise AssertionError("too late")

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("sklinvariant.datasets.load_digits_images", computes)
    monkeypatch.setattr("sklinvariant.datasets.make_camera_clips", computes)
    assert main(words) == 2
    assert 'drawing the figure needs matplotlib: pip install "sklinvariant[plot]"' in capsys.readouterr().err


def test_digits_without_photographs(tmp_path, capsys):
    path = tmp_path / "digits.png"
    assert main(["cluster", "--output", str(path)]) == 0
    found = dict(re.findall(r"^  (\S+) +([\d.]+) %$", capsys.readouterr().out, re.M))
    assert float(found["IICClusterer"]) >= 90 > float(found["k-means"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert main(["cluster", "--clusters", "1"]) == 2
    assert "--clusters must be at least 2" in capsys.readouterr().err
