"""The size of an image from the header of its file, without decoding it."""

import re
import struct


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in the header of an image file; None if the format is unknown or the header is damaged."""
    for is_format, size in _FORMATS:
        if is_format(data):
            try:
                return size(data)
            except (struct.error, IndexError, ValueError):
                return None  # cut off or damaged
    return None


def _png(data):
    return struct.unpack_from(">II", data, 16)


def _gif(data):
    return struct.unpack_from("<HH", data, 6)


def _bmp(data):
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # the height is negative if rows are stored from the top


def _jpeg(data):
    """The size in the frame header, SOF0 to SOF15, which follows any number of segments."""
    place = 2
    while True:
        place = data.index(b"\xff", place)  # decoders skip bytes between segments
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # markers without length
            place += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack_from(">HH", data, place + 5)[::-1]
        elif marker in (0xD9, 0xDA):  # image data or end of image
            return None
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _webp(data):
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(data):
    """The size in tags 256 and 257 of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", data, 2)[0] == 43:  # BigTIFF
        (place,) = struct.unpack_from(order + "Q", data, 8)
        (count,) = struct.unpack_from(order + "Q", data, place)
        entries, length, value = place + 8, 20, 12
    else:
        (place,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, place)
        entries, length, value = place + 2, 12, 8
    sizes = {}
    for entry in range(entries, entries + length * min(count, 4096), length):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257):
            sizes[tag] = struct.unpack_from(order + {1: "B", 3: "H", 16: "Q"}.get(kind, "I"), data, entry + value)[0]
    return (sizes[256], sizes[257]) if len(sizes) == 2 else None


def _pnm(data):
    """Two decimal numbers, possibly with comments between them; named fields in the PAM format."""
    head = re.sub(rb"#[^\r\n]*", b"", data[:4096])
    if head[:2] == b"P7":
        width, height = (re.search(rb"\b" + name + rb"\s+(\d+)", head) for name in (b"WIDTH", b"HEIGHT"))
        return (int(width[1]), int(height[1])) if width and height else None
    numbers = re.match(rb"P\d\s+(\d+)\s+(\d+)\s", head)
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _jp2(data):
    """The size in the SIZ segment at the start of the code stream, which may be inside a box."""
    is_bare = data.startswith(b"\xff\x4f\xff\x51")
    start = 0 if is_bare else next((start for kind, start, _ in _boxes(data) if kind == b"jp2c"), len(data))
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    return right - left, bottom - top


def _avif(data):
    """The largest of the sizes in the properties of the meta box."""
    meta = next((data[start:end] for kind, start, end in _boxes(data) if kind == b"meta"), b"")
    sizes = [struct.unpack_from(">II", meta, found.end() + 4) for found in re.finditer(b"ispe", meta)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _boxes(data):
    """(kind, start, end) of the contents of the outermost boxes of an ISO base media file."""
    place = 0
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, place + 8), 16
        end = len(data) if length == 0 else place + length
        yield kind, place + head, end
        if end < place + head:
            return
        place = end


_FORMATS = (
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    (lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    (lambda data: data.startswith((b"GIF87a", b"GIF89a")), _gif),
    (lambda data: data.startswith(b"BM"), _bmp),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    (lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")), _tiff),
    (lambda data: data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace(), _pnm),
    (lambda data: data.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")), _jp2),
    (lambda data: data[4:8] == b"ftyp", _avif),
)
