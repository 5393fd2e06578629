"""The size of an image from its header, before it is decoded."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from photographs import write_images

from sklinvariant.cli import _photo_index as _photo_index
from sklinvariant.cli import _photos as _photos
from sklinvariant.images import _pixels as _images
from sklinvariant.images._image_size import image_size
from sklinvariant.images._pixels import read_image

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
features = pytest.importorskip("PIL.features", reason="Pillow is not installed")


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
    write_images(tmp_path / "photos" / "class", 3)
    (tmp_path / "photos" / "class" / "bomb.png").write_bytes(_bomb(48))
    with pytest.warns(UserWarning, match="bomb.png"):
        assert len(load_image_folder(tmp_path / "photos").images) == 3
    settings = {"n_bits": 2, "image_size": 32, "n_rotations": 2, "n_scales": 1, "show": False}
    monkeypatch.setattr(_photos, "_N_WORDS", 8)
    _, skipped = _photo_index.make_index(tmp_path / "photos", tmp_path / "index", **settings)
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
