"""Indexes, names and images from strangers: nothing is injected, nothing outside is shown, errors are one line."""

import csv
import json
import shutil
import struct
import warnings
import zlib
from html.parser import HTMLParser
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, features

from sklinvariant import BagOfWords, save
from sklinvariant.cli import _photo_index as _photo_index
from sklinvariant.cli import _photos as _photos
from sklinvariant.cli._command_line import main
from sklinvariant.cli._outputs import printable, write_table
from sklinvariant.cli._photos import list_images
from sklinvariant.cli._report import write_clusters, write_report
from sklinvariant.images import _pixels as _images
from sklinvariant.images._image_size import image_size
from sklinvariant.images._pixels import read_image

_SETTINGS = {"n_bits": 2, "image_size": 32, "n_rotations": 2, "n_scales": 1, "show": False}
_HOSTILE = ["<script>alert(1)</script>.png", '"><img src=x onerror=alert(1)>.png', "</title><svg onload=alert(1)>"]


def _write_images(folder, n=4, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.RandomState(seed)
    for i in range(n):
        coarse = rng.randint(256, size=(5, 5, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(coarse, (40, 40), interpolation=cv2.INTER_LINEAR))


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
    _write_images(folder / "photos")
    _photo_index.make_index(folder / "photos", folder / "index", **_SETTINGS)
    return folder


@pytest.fixture
def index(whole, tmp_path):
    """A copy of the index, to be tampered with."""
    shutil.copytree(whole / "index", tmp_path / "index")
    return tmp_path / "index"


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _forge(index, names=None, **settings):
    """Edit an index as someone would who knows how it is made."""
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


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.images = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attributes)
        self.images += [value for name, value in attributes if tag == "img" and name == "src"]


def _parse(path):
    page = _Page(path.read_text(encoding="utf-8"))
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "figure", "figcaption"}
    assert page.tags <= allowed | {"img", "b"}
    return page


@pytest.mark.parametrize("name", _HOSTILE)
def test_nothing_is_injected_into_pages(name, tmp_path):
    page = tmp_path / "page.html"
    write_report(page, {name: [(3, name)]}, [(name, name)], changed={name: name}, n_bits=name)
    assert _parse(page).images == [""]  # of the query, which is not there; the other is named alone
    write_report(page, {name: [(3, name)]}, [], changed={}, n_bits=name)
    _parse(page)
    write_clusters(page, tmp_path / name, [[(name, 0.5)], []], [(name, name)], n_shown=name and 1)
    _parse(page)
    assert "Content-Security-Policy" in page.read_text(encoding="utf-8")


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
    assert main(["query", str(index), str(whole / "photos" / "0.png"), "--html", str(page)]) == 2
    assert "which is not a file in the folder of photographs" in capsys.readouterr().err
    assert not page.exists()


def test_images_of_the_reader_are_not_shown(index, whole, tmp_path, capsys):
    """An index that calls a folder of the reader's own its photographs, with names that are likely there."""
    _write_images(tmp_path / "private", seed=9)
    _forge(index, photos=str(tmp_path / "private"))
    page = tmp_path / "page.html"
    query = str(whole / "photos" / "0.png")
    assert main(["query", str(index), query, "--neighbors", "4", "--html", str(page)]) == 0
    assert "missing or changed since they were indexed: 4" in capsys.readouterr().err
    assert len(_parse(page).images) == 1  # the query
    assert page.read_text().count("changed since it was indexed") == 4


def test_photographs_that_are_gone_or_changed_are_named_not_shown(tmp_path, capsys):
    pytest.importorskip("faiss", reason="faiss is not installed")
    photos, page = tmp_path / "photos", tmp_path / "page.html"
    _write_images(photos)
    _photo_index.make_index(photos, tmp_path / "index", **_SETTINGS)
    cv2.imwrite(str(photos / "1.png"), np.zeros((9, 9, 3)))
    (photos / "2.png").unlink()
    words = ["query", str(tmp_path / "index"), str(photos / "0.png"), "--neighbors", "4", "--html", str(page)]
    assert main(words) == 0
    complaints = capsys.readouterr().err
    assert "1.png: changed since it was indexed" in complaints
    assert "2.png: no longer exists" in complaints
    assert len(_parse(page).images) == 3


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


def test_links_out_of_the_folder_are_followed_on_request_alone(tmp_path):
    photos, outside = tmp_path / "photos", tmp_path / "outside"
    _write_images(photos / "deeper", 1)
    _write_images(outside, 2)
    (photos / "inside.png").symlink_to(photos / "deeper" / "0.png")
    (photos / "out.png").symlink_to(outside / "0.png")
    (photos / "folder").symlink_to(outside)
    (photos / "loop").symlink_to(photos)
    (photos / "nowhere.png").symlink_to(tmp_path / "nowhere")
    (photos / "itself.png").symlink_to(photos / "itself.png")
    with pytest.warns(UserWarning, match="2 links lead out of .* --follow-links"):
        found = list_images(photos)
    inside = ["deeper/0.png", "inside.png", "itself.png"]
    assert [name for name, _ in found] == inside
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list_images(photos, follow_links=True)
    assert sorted(name for name, _ in found) == sorted([*inside, "folder/0.png", "folder/1.png", "out.png"])


def test_links_are_passed_over_by_the_command(whole, tmp_path, capsys):
    photos = tmp_path / "photos"
    _write_images(photos, 3)
    (photos / "out.png").symlink_to(whole / "photos" / "0.png")
    words = ["index", str(photos), "--out", str(tmp_path / "index"), "--bits", "2", "--image-size", "32"]
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
    assert main(["index", str(tmp_path / name), "--out", str(index)]) == 2
    assert main(["query", str(index), "a.png", "--html", f"{name}/a.html"]) == 2
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


def _bomb(side):
    """A PNG of a single colour."""

    def part(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def test_a_huge_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(_bomb(32_000))
    assert path.stat().st_size < 200_000
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imdecode", lambda *args: pytest.fail("was decoded"))
        with pytest.raises(ValueError, match=r"bomb\.png has 32000 x 32000 pixels, more than the limit of 178,956,970"):
            read_image(path)
    small = tmp_path / "small.png"
    small.write_bytes(_bomb(16))
    monkeypatch.setenv("SKLINVARIANT_MAX_PIXELS", "255")
    with pytest.raises(ValueError, match="set the environment variable SKLINVARIANT_MAX_PIXELS"):
        read_image(small)
    monkeypatch.setenv("SKLINVARIANT_MAX_PIXELS", "256")
    assert read_image(small).shape == (16, 16, 3)
    monkeypatch.setenv("SKLINVARIANT_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="SKLINVARIANT_MAX_PIXELS must be an integer, got 'many'"):
        read_image(small)


def test_a_huge_image_is_skipped_by_every_reader(tmp_path, monkeypatch):
    from sklinvariant.datasets import load_image_folder

    monkeypatch.setenv("SKLINVARIANT_MAX_PIXELS", "1600")
    _write_images(tmp_path / "photos" / "class", 3)
    (tmp_path / "photos" / "class" / "bomb.png").write_bytes(_bomb(48))
    with pytest.warns(UserWarning, match="bomb.png"):
        assert len(load_image_folder(tmp_path / "photos").images) == 3
    _, skipped = _photo_index.make_index(tmp_path / "photos", tmp_path / "index", **_SETTINGS)
    ((name, reason),) = skipped
    assert name == "class/bomb.png"
    assert "has 48 x 48 pixels" in reason


def _encoded(kind, mode="RGB", **settings):
    file = BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(256, size=(23, 37, 3)).astype(np.uint8)).convert(mode).save(
        file, kind, **settings
    )
    return file.getvalue()


def _formats():
    jpeg = {"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}, {"comment": b"\xff\xc0 no frame"}
    yield from (("PNG", {}), ("GIF", {}), ("BMP", {}), ("PPM", {}), ("TIFF", {}), ("JPEG", {}))
    yield from (("TIFF", {"big_tiff": True}), ("PPM", {"mode": "L"}), *(("JPEG", settings) for settings in jpeg))
    if features.check("webp"):
        yield from (("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", {"exif": b"Exif\0\0" + bytes(100)}))
    if features.check("jpg_2000"):
        yield from (("JPEG2000", {}), ("JPEG2000", {"no_jp2": True}))
    if features.check("avif"):
        yield ("AVIF", {})


@pytest.mark.parametrize(("kind", "settings"), list(_formats()))
def test_the_header_of_every_format_is_read(kind, settings):
    data = _encoded(kind, **settings)
    assert tuple(image_size(data)) == (37, 23)
    rng = np.random.RandomState(0)
    for end in rng.randint(len(data), size=50):  # a file cut off anywhere, or with other bytes anywhere: no error
        image_size(data[:end])
        damaged = bytearray(data)
        for place in rng.randint(min(len(data), 300), size=5):
            damaged[place] = rng.randint(256)
        image_size(bytes(damaged))


@pytest.mark.parametrize("ending", sorted(_images.IMAGE_SUFFIXES - {".heic", ".heif", ".avif", ".gif"}))
def test_the_formats_that_opencv_writes_are_read(ending, tmp_path):
    path, image = tmp_path / f"a{ending}", np.full((70, 90, 3), 200, np.uint8)
    kind = ".jpg" if ending == ".jfif" else ending
    path.write_bytes(cv2.imencode(kind, image[..., 0] if kind == ".pgm" else image)[1])
    assert image_size(path.read_bytes()) == (90, 70)
    assert read_image(path).shape == (70, 90, 3)


def test_comments_and_names_in_plain_headers():
    assert image_size(b"P6\n# made by hand 1 2\n37 # wide\n23\n255\n") == (37, 23)
    assert image_size(b"P7\nWIDTH 37\nHEIGHT 23\nDEPTH 3\nMAXVAL 255\nENDHDR\n") == (37, 23)
    assert image_size(b"P6\n-37 23\n255\n") is None
    assert image_size(b"#?RADIANCE\n\n-Y 32000 +X 32000\n") is None
    assert image_size(b"") is None
