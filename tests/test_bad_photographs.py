"""Photographs as they are found on disks: damaged, huge, animated, in other colours or formats, with odd names."""

import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from photographs import parse_page, write_images

from sklinvariant.cli import _photo_index as _photo_index
from sklinvariant.cli import _photos as _photos
from sklinvariant.cli._command_line import main
from sklinvariant.images import read_image

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
ImageOps = pytest.importorskip("PIL.ImageOps", reason="Pillow is not installed")
features = pytest.importorskip("PIL.features", reason="Pillow is not installed")

_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
_QUICK = ["--bits", "4", "--image-size", "32", "--rotations", "2", "--scales", "1"]


@pytest.fixture(autouse=True)
def _few_words(monkeypatch):
    monkeypatch.setattr(_photos, "_N_WORDS", 8)


@pytest.fixture
def photos(tmp_path):
    write_images(tmp_path / "photos", 6)
    return tmp_path / "photos"


def _picture(seed=7):
    coarse = np.random.RandomState(seed).randint(256, size=(5, 6, 3)).astype(np.uint8)
    return Image.fromarray(cv2.resize(coarse, (60, 50), interpolation=cv2.INTER_LINEAR))


def _encoded(kind, image=None, **settings):
    file = BytesIO()
    (image or _picture()).save(file, kind, **settings)
    return file.getvalue()


def _index_document(photos, out, capsys, *words):
    """What ``index --json`` prints."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    assert main(["index", str(photos), "--output", str(out), *_QUICK, "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def _damaged():
    png, jpeg = _encoded("PNG"), _encoded("JPEG", quality=95)
    yield "empty.jpg", b""
    yield "zeros.png", bytes(5000)
    yield "text.jpg", b"<html>404 not found</html>"
    yield "truncated.png", png[: len(png) // 2]
    yield "headless.jpg", jpeg[len(jpeg) // 2 :]
    yield "damaged.png", png[:200] + bytes(60) + png[260:]


@pytest.mark.parametrize(
    ("name", "content"), list(_damaged()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_corrupt_and_empty_files_are_listed_and_skipped(name, content, photos, tmp_path, capsys):
    (photos / name).write_bytes(content)
    document = _index_document(photos, tmp_path / "index", capsys)
    assert document["photographs"] == 6
    assert [row["file"] for row in document["skipped"]] == [name]
    assert "cannot be read as an image" in document["skipped"][0]["reason"]
    page = tmp_path / "clusters.html"
    words = ["--image-size", "32", "--clusters", "2", "--output", str(page)]
    assert main(["cluster", str(photos), *words]) == 0
    assert f"{name}: " in page.read_text()
    assert len(parse_page(page).images) == 6


def test_each_bad_file_is_one_line(photos, tmp_path):
    """Without warnings that OpenCV writes to the standard error of the process."""
    (photos / "truncated.png").write_bytes(dict(_damaged())["truncated.png"])
    words = ["cluster", str(photos), "--image-size", "32", "--clusters", "2", "--output", str(tmp_path / "a.html")]
    environment = {name: value for name, value in _ENVIRONMENT.items() if name != "OPENCV_LOG_LEVEL"}
    command = [sys.executable, "-m", "sklinvariant", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = [line for line in done.stderr.splitlines() if "IICClusterer" not in line]
    assert len(lines) == 2
    assert lines[0] == "skipped: 1"
    assert lines[1].startswith("  truncated.png: ")


def _heic():
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + struct.pack(">I4s", 8, b"mdat") + bytes(100)


@pytest.mark.parametrize("name", ["phone.heic", "phone.heif", "phone.jpg"])  # phones also write HEIC as .jpg
def test_heic_without_a_decoder_says_what_to_do(name, photos, tmp_path, capsys):
    (photos / name).write_bytes(_heic())
    (row,) = _index_document(photos, tmp_path / "index", capsys)["skipped"]
    assert row["file"] == name
    assert "HEIC or AVIF file, which this OpenCV cannot decode). Convert it to JPEG or PNG" in row["reason"]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot write AVIF")
def test_avif_without_a_decoder_says_what_to_do(photos, tmp_path, capsys, monkeypatch):
    (photos / "a.avif").write_bytes(_encoded("AVIF"))
    decode = cv2.imdecode

    def without(data, flags):
        return None if b"ftypavif" in data[:16].tobytes() else decode(data, flags)

    monkeypatch.setattr(cv2, "imdecode", without)
    (row,) = _index_document(photos, tmp_path / "index", capsys)["skipped"]
    assert "HEIC or AVIF file, which this OpenCV cannot decode" in row["reason"]


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _unusual():
    other = Image.fromarray(255 - np.asarray(_picture()))
    yield "animated.gif", _encoded("GIF", save_all=True, append_images=[other])
    yield "animated.png", _encoded("PNG", save_all=True, append_images=[other])
    if features.check("webp"):
        yield "animated.webp", _encoded("WEBP", save_all=True, append_images=[other], lossless=True)
    yield "pages.tif", _encoded("TIFF", save_all=True, append_images=[other])
    yield "cmyk.jpg", _encoded("JPEG", _picture().convert("CMYK"), quality=95)
    yield "cmyk.tif", _encoded("TIFF", _picture().convert("CMYK"))
    deep = np.asarray(_picture())[..., ::-1].astype(np.uint16) * 257
    for ending in (".png", ".tif"):
        yield f"deep{ending}", cv2.imencode(ending, deep)[1].tobytes()
    for orientation in range(1, 9):
        yield f"exif{orientation}.jpg", _encoded("JPEG", exif=_exif(orientation), quality=95)
        yield f"exif{orientation}.png", _encoded("PNG", exif=_exif(orientation))
    yield "exif6.tif", _encoded("TIFF", exif=_exif(6))


@pytest.mark.parametrize(
    ("name", "content"), list(_unusual()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_unusual_files_show_the_picture_that_a_viewer_shows(name, content, tmp_path):
    """The first frame of an animation, upright, in RGB of 8 bits: as Pillow reads it."""
    (tmp_path / name).write_bytes(content)
    image = read_image(tmp_path / name)
    if name.startswith("deep"):  # Pillow clips 16 bits
        expected = np.asarray(_picture())
    else:
        expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(content))).convert("RGB"))
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 4


def test_unusual_files_are_found_by_the_plain_picture(photos, tmp_path, capsys):
    unusual = dict(_unusual())
    for name in ("animated.png", "cmyk.jpg", "deep.png", "exif6.jpg"):
        (photos / name).write_bytes(unusual[name])
    assert _index_document(photos, tmp_path / "index", capsys)["photographs"] == 10
    _picture().save(tmp_path / "plain.png")
    words = ["query", str(tmp_path / "index"), str(tmp_path / "plain.png"), "--neighbors", "10", "--json"]
    assert main(words) == 0
    (query,) = json.loads(capsys.readouterr().out)["queries"]
    near = {os.path.basename(row["file"]) for row in query["neighbors"] if row["distance"] <= 1}
    assert {"animated.png", "cmyk.jpg", "deep.png"} <= near


@pytest.mark.slow
def test_photographs_of_100_megapixels(photos, tmp_path, capsys):
    large = cv2.resize(np.asarray(_picture()), (11_040, 9_200), interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(photos / "large.jpg"), large[..., ::-1])
    image = read_image(photos / "large.jpg")
    assert image.shape == (9200, 11040, 3)
    small = cv2.resize(image, (60, 50), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - np.asarray(_picture())).mean() < 4
    document = _index_document(photos, tmp_path / "index", capsys)
    assert (document["photographs"], document["skipped"]) == (7, [])


def _png_of_nothing(side):
    """A PNG of the given side whose header alone is valid."""
    head = struct.pack(">4sIIBBBBB", b"IHDR", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def test_more_pixels_than_the_limit_are_listed_not_decoded(photos, tmp_path, capsys):
    (photos / "bomb.png").write_bytes(_png_of_nothing(60_000))
    (row,) = _index_document(photos, tmp_path / "index", capsys)["skipped"]
    assert "60000 x 60000 pixels, more than the limit" in row["reason"]


def test_loops_of_links_end(photos, tmp_path, capsys):
    (photos / "deeper").mkdir()
    (photos / "deeper" / "up").symlink_to(photos)
    (photos / "self.png").symlink_to(photos / "self.png")
    (photos / "a").symlink_to(photos / "b")
    (photos / "b").symlink_to(photos / "a")
    for words in ([], ["--follow-links"]):
        document = _index_document(photos, tmp_path / "index", capsys, *words)
        assert document["photographs"] == 6
        assert [row["file"] for row in document["skipped"]] == ["self.png"]


_NAMES = ["it's.png", 'a "quote".png', "new\nline.png", "<b>&amp;.png", "-rf.png", "$(x).png", "a;b|c.png", "%s{0}.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not allow such names")
def test_names_with_quotes_newlines_and_markup(tmp_path, capsys, monkeypatch):
    photos, page = tmp_path / "photos", tmp_path / "page.html"
    write_images(photos, len(_NAMES))
    for i, name in enumerate(_NAMES):
        (photos / f"{i}.png").rename(photos / name)
    assert _index_document(photos, tmp_path / "index", capsys)["photographs"] == len(_NAMES)
    words = ["query", str(tmp_path / "index"), str(photos / _NAMES[2]), "--neighbors", "99", "--output", str(page)]
    assert main([*words, "--json"]) == 0
    printed = capsys.readouterr()
    (query,) = json.loads(printed.out)["queries"]
    assert sorted(os.path.basename(row["file"]) for row in query["neighbors"]) == sorted(_NAMES)
    assert "new\nline" not in printed.err  # one line for each file
    assert len(parse_page(page).images) == len(_NAMES) + 1
    monkeypatch.chdir(tmp_path)
    assert main(["cluster", "photos", "--image-size", "32", "--clusters", "2"]) == 0
    with open("clusters.csv", newline="", encoding="utf-8") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert sorted(name.removeprefix("'-").removeprefix("-") for name in names) == sorted(
        name.removeprefix("-") for name in _NAMES
    )
    assert len(parse_page(tmp_path / "clusters.html").images) == len(_NAMES)


def _wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be paused here")
def test_two_processes_on_one_index(tmp_path, capsys):
    """The second one is refused, and the first one finishes its index."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    write_images(tmp_path / "photos", 70)
    words = ["index", str(tmp_path / "photos"), "--output", str(tmp_path / "index"), *_QUICK]
    command, pipe = [sys.executable, "-m", "sklinvariant", *words], subprocess.PIPE
    with subprocess.Popen(command, env=_ENVIRONMENT, stdout=pipe, stderr=pipe, text=True) as process:
        _wait_for(tmp_path / "index" / "features-000000.npz", process)
        process.send_signal(signal.SIGSTOP)
        try:
            status, error = main(words), capsys.readouterr().err
        finally:
            process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=300)
    assert status == 2
    assert f"process {process.pid} on " in error
    assert (process.returncode, err) == (0, "")
    assert "70 photographs indexed" in out
    assert main(["query", str(tmp_path / "index"), str(tmp_path / "photos" / "3.png")]) == 0


def test_a_folder_that_is_removed_while_it_is_indexed(tmp_path, monkeypatch, capsys):
    """The index of half of the photographs is not finished as if they were all; what was computed is kept."""
    pytest.importorskip("faiss", reason="faiss is not installed")
    photos, away = tmp_path / "photos", tmp_path / "away"
    write_images(photos, 12)
    monkeypatch.setattr(_photo_index, "_CHUNK", 4)
    read, chunks = _photo_index._read, []

    def removed(pooler, files, n_keypoints):
        chunks.append(files)
        if len(chunks) == 2:
            photos.rename(away)
        return read(pooler, files, n_keypoints)

    monkeypatch.setattr(_photo_index, "_read", removed)
    words = ["index", str(photos), "--output", str(tmp_path / "index"), *_QUICK]
    assert main(words) == 2
    assert f"{photos} was removed or unmounted during the run" in capsys.readouterr().err
    assert not (tmp_path / "index" / "names.json").exists()
    away.rename(photos)
    kept = (tmp_path / "index" / "features-000000.npz").stat().st_mtime_ns
    assert main(words) == 0
    assert "12 photographs indexed" in capsys.readouterr().out
    assert (tmp_path / "index" / "features-000000.npz").stat().st_mtime_ns == kept


def test_an_index_that_is_removed_while_it_is_written(photos, tmp_path, monkeypatch, capsys):
    pytest.importorskip("faiss", reason="faiss is not installed")
    read = _photo_index._read

    def removed(pooler, files, n_keypoints):
        shutil.rmtree(tmp_path / "index")
        return read(pooler, files, n_keypoints)

    monkeypatch.setattr(_photo_index, "_read", removed)
    assert main(["index", str(photos), "--output", str(tmp_path / "index"), *_QUICK]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "there is no folder" in error


def test_a_folder_that_is_removed_while_it_is_clustered(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    learn = _photos.learn_backbone

    def removed(*args):
        backbone = learn(*args)
        shutil.rmtree(photos)
        return backbone

    monkeypatch.setattr(_photos, "learn_backbone", removed)
    assert main(["cluster", "photos", "--image-size", "32", "--clusters", "2"]) == 2
    assert f"{photos} was removed or unmounted during the run" in capsys.readouterr().err
    assert not (tmp_path / "clusters.html").exists()
