"""Formats made of boxes (AVIF, HEIC, JPEG 2000, JPEG XL): telling them apart, and whether a file is cut short."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pipeline.io.images.items import exif_item
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
"""End of a code stream, inside of which these bytes never occur."""
_EXIF_ITEM = re.compile(rb"infe([\x02\x03]...(?:..|....)\0\0)Exif", re.DOTALL)


def brand(data: bytes) -> str | None:
    """The format (AVIF, HEIF, or one without a decoder); None for a film or a file without boxes."""
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), 4096, len(data))
    brands = [data[8:12], *(data[start : start + 4] for start in range(16, size - 3, 4))]
    for code in brands:
        if code in _AVIF | _HEVC:
            return "AVIF" if code in _AVIF else "HEIF"
    for code in brands:
        if code in _OTHER:
            return _OTHER[code]
    if _GENERIC.isdisjoint(brands):
        return None
    return "AVIF" if b"av01" in data[: 1 << 16] else "HEIF"


def boxes(data: bytes, start: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start of the content, and end of each top-level box; the end may lie beyond that of the file."""
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


def missing_bytes(data: bytes) -> int:
    """Number of bytes by which the last box exceeds the file."""
    return max((end - len(data) for kind, _, end in boxes(data) if kind.isascii() and kind.isalnum()), default=0)


def strip_jpeg_2000(data: bytes) -> Stripped:
    """The unchanged file; it is cut short if the code stream has no end."""
    return Stripped(data, cut_short=JPEG_2000_END not in data)


def strip(data: bytes) -> Stripped:
    """HEIF or AVIF with its EXIF item renamed so that no decoder reads it.

    The container states the orientation, so EXIF is not needed, and damaged EXIF must not prevent decoding.
    """
    start = data[: 1 << 22]
    hidden = _EXIF_ITEM.sub(lambda match: b"infe" + match[1] + b"skip", start)
    stripped = data if hidden == start else hidden + data[1 << 22 :]
    return Stripped(stripped, cut_short=missing_bytes(data) > 0, exif=exif_item(data))
