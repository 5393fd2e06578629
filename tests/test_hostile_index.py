"""Untrusted indexes, names and images: nothing is injected, no other files are shown, errors are one line."""

import csv
import json
import shutil

import numpy as np
import pytest
from photographs import parse_page, write_images

from sklinvariant import BagOfWords, save
from sklinvariant.cli import _photo_index as _photo_index
from sklinvariant.cli import _photos as _photos
from sklinvariant.cli._command_line import main
from sklinvariant.cli._outputs import printable, write_table
from sklinvariant.neighbors import HammingNeighbors

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

_SETTINGS = {"n_bits": 2, "image_size": 32, "n_rotations": 2, "n_scales": 1, "show": False}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_photos, "_N_WORDS", 8)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with photographs and their index."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    folder = tmp_path_factory.mktemp("whole")
    write_images(folder / "photos")
    _photo_index.make_index(folder / "photos", folder / "index", **_SETTINGS)
    return folder


@pytest.fixture
def index(whole, tmp_path):
    """A copy of the index, which the test modifies."""
    shutil.copytree(whole / "index", tmp_path / "index")
    return tmp_path / "index"


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _forge(index, names=None, **settings):
    """Edit an index as an attacker who knows its format."""
    _edit(index / "settings.json", **settings)
    maker = _photo_index._maker(index, json.loads((index / "settings.json").read_text()))
    content = json.loads((index / "names.json").read_text())
    photos = [
        [name, identity]
        for name, (_, identity) in zip(
            names or [name for name, _ in content["photos"]], content["photos"], strict=False
        )
    ]
    _edit(index / "names.json", maker=maker, photos=photos)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_bits": "<script>alert(1)</script>"},
        {"n_bits": True},
        {"n_bits": 10**9},
        {"image_size": 10**6},
        {"image_size": 32.5},
        {"n_rotations": 10**6},
        {"n_scales": 0},
        {"photos": 7},
        {"backbone": "other"},
        {"backbone": ["kmeans"]},
        {"n_keypoints": -1},
        {"n_keypoints": 10**9},
    ],
)
def test_settings_that_no_index_has(settings, index, whole, capsys):
    _forge(index, **settings)
    assert main(["query", str(index), str(whole / "photos" / "0.png")]) == 2
    (name,) = settings
    assert f"settings.json has no valid value for {name}. The index is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["/etc/passwd.png", "../private.png", "a/../../private.png", "..", "", "a\0.png"])
def test_names_outside_of_the_folder_are_refused(name, index, whole, tmp_path, capsys):
    _forge(index, names=[name])
    page = tmp_path / "page.html"
    assert main(["query", str(index), str(whole / "photos" / "0.png"), "--output", str(page)]) == 2
    assert "which is not a file in the folder of photographs" in capsys.readouterr().err
    assert not page.exists()


def test_images_of_the_reader_are_not_shown(index, whole, tmp_path, capsys):
    """An index that refers to a folder of the reader, with names of files that probably exist there."""
    write_images(tmp_path / "private", seed=9)
    _forge(index, photos=str(tmp_path / "private"))
    page = tmp_path / "page.html"
    query = str(whole / "photos" / "0.png")
    assert main(["query", str(index), query, "--neighbors", "4", "--output", str(page)]) == 0
    assert "missing or changed since they were indexed: 4" in capsys.readouterr().err
    assert len(parse_page(page).images) == 1  # the query
    assert page.read_text().count("changed since it was indexed") == 4


_DAMAGED = ["", "not json", "[1]", "{}", "[" * 100_000, '{"maker": 1, "n_bits": 2, "photos": [["a.png"]]}', "null"]
_DAMAGED += ['{"maker": "x", "n_bits": 2, "photos": [["a.png", [1e999, 2]]]}', '["0.png", "1.png"]']


@pytest.mark.parametrize("content", _DAMAGED)
@pytest.mark.parametrize("name", ["names.json", "settings.json"])
def test_edited_files_give_one_line(name, content, index, whole, capsys):
    (index / name).write_text(content)
    assert main(["query", str(index), str(whole / "photos" / "0.png")]) == 2
    error = capsys.readouterr().err
    message = {"names.json": "or was written by another version", "settings.json": "no finished index"}
    assert message[name] in error


def test_files_that_do_not_belong_together(index, whole, capsys):
    words = ["query", str(index), str(whole / "photos" / "0.png")]
    _edit(index / "settings.json", n_rotations=5)
    assert main(words) == 2
    assert "does not belong to the settings and weights beside it" in capsys.readouterr().err
    _edit(index / "settings.json", n_rotations=2)
    content = json.loads((index / "names.json").read_text())
    _edit(index / "names.json", photos=content["photos"][:3])
    assert main(words) == 2
    assert "lists 3 photographs but contains 4 codes" in capsys.readouterr().err
    _edit(index / "names.json", photos=content["photos"])
    save(BagOfWords(2).fit(np.random.RandomState(0).rand(4, 5, 3)), index / "hasher.safetensors")
    assert main(words) == 2
    assert "hasher.safetensors contains a BagOfWords, but ITQHasher or RBMHasher is required" in capsys.readouterr().err
    (index / "hasher.safetensors").unlink()
    assert main(words) == 2
    assert "hasher.safetensors is missing" in capsys.readouterr().err


def _with_keypoints(index, counts, places):
    _edit(index / "names.json", n_keypoints=counts)
    if places is not None:
        np.save(index / "places.npy", places, allow_pickle=True)


_PLACES = np.zeros((4, 4), np.float16)


@pytest.mark.parametrize(
    ("counts", "places", "message"),
    [
        ([1, 1, 1], _PLACES, "lists 4 photographs but the key points of 3"),
        ([1, 1, 1, 1], None, "places.npy is missing or cannot be read"),
        ([1, 1, 1, 2], _PLACES, "places of 5 key points"),
        ([5, 1, -1, -1], _PLACES, "numbers of key points"),
        ([1 << 80, 1, 1, 1], _PLACES, "places.npy is missing or cannot be read"),
        ([1, 1, 1, 1], np.array([print] * 4), "places.npy is missing or cannot be read"),
        ([1, 1, 1, 1], np.full((4, 4), np.nan, np.float16), "places of 4 key points"),
        ([1, 1, 1, 1], _PLACES, "keypoints.safetensors is missing"),
    ],
)
def test_key_points_that_no_index_has(counts, places, message, index, whole, capsys):
    for name in ("places.npy", "keypoints.safetensors"):
        (index / name).unlink(missing_ok=True)
    _with_keypoints(index, counts, places)
    assert main(["query", str(index), str(whole / "photos" / "0.png")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Create it again" in error
    assert main(["query", str(index), str(whole / "photos" / "0.png"), "--fast"]) == 2  # also reads the key points
    assert message in capsys.readouterr().err


def test_codes_of_other_key_points(index, whole, capsys):
    _with_keypoints(index, [1, 1, 1, 1], _PLACES)
    codes = np.random.RandomState(0).randint(256, size=(3, 16)).astype(np.uint8)
    save(HammingNeighbors(packed=True).fit(codes), index / "keypoints.safetensors")
    assert main(["query", str(index), str(whole / "photos" / "0.png")]) == 2
    assert "contains 4 key points but 3 codes" in capsys.readouterr().err
    save(BagOfWords(2).fit(np.random.RandomState(0).rand(4, 5, 3)), index / "keypoints.safetensors")
    assert main(["query", str(index), str(whole / "photos" / "0.png")]) == 2
    assert "but HammingNeighbors is required" in capsys.readouterr().err


def test_links_are_passed_over_by_the_command(whole, tmp_path, capsys):
    photos = tmp_path / "photos"
    write_images(photos, 3)
    (photos / "out.png").symlink_to(whole / "photos" / "0.png")
    words = ["index", str(photos), "--output", str(tmp_path / "index"), "--bits", "2", "--image-size", "32"]
    words += ["--rotations", "2", "--scales", "1"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "3 photographs indexed" in printed.out
    assert "sklinvariant: 1 links lead out of" in printed.err
    assert main([*words, "--follow-links"]) == 0
    assert "4 photographs indexed" in capsys.readouterr().out


def test_cells_are_not_computed_by_spreadsheets(tmp_path):
    names = ["=1+1.png", "+1.png", "-1.png", "@SUM(1).png", "\t=1.png", "\r=1.png", "\n=1.png", "a=1.png", 'a",=1.png']
    write_table(tmp_path / "table.csv", [[name, 0, "0.5000"] for name in names])
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"'{name}" for name in names[:7]] + names[7:]


def test_control_characters_are_printed_as_escapes(index, whole, tmp_path, capsys):
    name = "a\x1b[2J\x07\u202egnp.png"
    shutil.copy(whole / "photos" / "0.png", tmp_path / name)
    (tmp_path / f"not {name}").write_bytes(b"bad")
    assert main(["query", str(index), str(tmp_path / name), str(tmp_path / f"not {name}")]) == 0
    printed = capsys.readouterr()
    assert r"a\x1b[2J\x07\u202egnp.png" in printed.out
    assert r"not a\x1b[2J\x07\u202egnp.png" in printed.err
    assert main(["query", str(tmp_path / name), "a.png"]) == 2
    assert main(["index", str(tmp_path / name), "--output", str(index)]) == 2
    assert main(["query", str(index), "a.png", "--output", f"{name}/a.html"]) == 2
    both = "".join(capsys.readouterr()) + "".join(printed)
    assert not set(both) & set("\x1b\x07\u202e")


def test_other_names_are_printed_as_they_are():
    for name in (
        "a b.png",
        "日本語　写真.jpg",
        "10.00\u202fAM.png",
        "👨\u200d👩\u200d👧.png",
        "é\u0301.png",
        "a\\n.png",
    ):
        assert printable(name) == name
    assert printable("a\nb\u2028c\udce9\x9b") == r"a\nb\u2028c\udce9\x9b"


def test_photographs_that_are_gone_or_changed_are_named_not_shown(tmp_path, capsys):
    pytest.importorskip("faiss", reason="faiss is not installed")
    photos, page = tmp_path / "photos", tmp_path / "page.html"
    write_images(photos)
    _photo_index.make_index(photos, tmp_path / "index", **_SETTINGS)
    cv2.imwrite(str(photos / "1.png"), np.zeros((9, 9, 3)))
    (photos / "2.png").unlink()
    words = ["query", str(tmp_path / "index"), str(photos / "0.png"), "--neighbors", "4", "--output", str(page)]
    assert main(words) == 0
    complaints = capsys.readouterr().err
    assert "1.png: changed since it was indexed" in complaints
    assert "2.png: no longer exists" in complaints
    assert len(parse_page(page).images) == 3
