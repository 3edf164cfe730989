"""Files made of boxes: AVIF, HEIC, JPEG 2000, JPEG XL. What they are, and whether they are cut short."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pipeline.io.images.limits import check_parts
from pipeline.io.images.stripped import Stripped

_AVIF = {b"avif", b"avis"}
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_OTHER = {
    b"crx ": "camera raw",
    b"avci": "AVC image",
    b"avcs": "AVC image",
    b"vvic": "VVC image",
    b"vvis": "VVC image",
    b"evbi": "EVC image",
    b"jpeg": "JPEG in HEIF",
    b"j2ki": "JPEG 2000 in HEIF",
}
_GENERIC = {b"mif1", b"mif2", b"msf1", b"miaf"}
JPEG_2000_END = b"\xff\xd9"
"""Nothing else in a code stream has these bytes."""
_EXIF_ITEM = re.compile(rb"infe([\x02\x03]...(?:..|....)\0\0)Exif", re.DOTALL)


def brand(data: bytes) -> str | None:
    """AVIF, HEIF, another image format that has no decoder, or None: a film, or no boxes at all."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), 4096, len(data))
    brands = [data[8:12], *(data[start : start + 4] for start in range(16, size - 3, 4))]
    for each in brands:
        if each in _AVIF | _HEVC:
            return "AVIF" if each in _AVIF else "HEIF"
    for each in brands:
        if each in _OTHER:
            return _OTHER[each]
    if _GENERIC.isdisjoint(brands):
        return None
    return "AVIF" if b"av01" in data[: 1 << 16] else "HEIF"


def boxes(data: bytes, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content, and end of each box on the top level; the end may lie beyond the file's."""
    parts = 0
    while start + 8 <= len(data):
        check_parts(parts := parts + 1)
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and start + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, start + 8)
            body += 8
        end = len(data) if size == 0 else start + size
        if end < body:
            return
        yield kind, body, end
        start = end


def lacking(data: bytes) -> int:
    """Bytes by which the last box is longer than the file."""
    return max((end - len(data) for kind, _, end in boxes(data) if kind.isascii() and kind.isalnum()), default=0)


def strip_jpeg_2000(data: bytes) -> Stripped:
    """The file as it is; it is cut short if the end of its code stream is nowhere."""
    return Stripped(data, cut_short=JPEG_2000_END not in data)


def strip(data: bytes) -> Stripped:
    """HEIF and AVIF with their EXIF item under a name that no decoder reads.

    The container itself says which way is up; EXIF has no say in it, and a faulty one must not cost the pixels.
    """
    start = data[: 1 << 22]
    hidden = _EXIF_ITEM.sub(lambda found: b"infe" + found[1] + b"skip", start)
    return Stripped(data if hidden == start else hidden + data[1 << 22 :], cut_short=lacking(data) > 0)
