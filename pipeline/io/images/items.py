"""The EXIF item of a HEIF or AVIF file, found by its directory of items (ISO/IEC 23008-12 and 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_ITEMS = 20_000
"""Entries of a directory of items that are looked at. A photo of 100 megapixels in tiles has some 400."""
MAX_EXIF = 1 << 20
"""Bytes of EXIF that are read."""
_LARGEST_DIRECTORY = 1 << 22
_IN_FILE, _IN_BOX = 0, 1


def exif_item(data: bytes) -> bytes:
    """The EXIF (a TIFF header and its directories); empty if there is none, or if its place cannot be read.

    Args:
        data: the file.
    """
    try:
        for kind, start, end in _boxes(data, 0, len(data)):
            if kind == b"meta":
                return _exif(data, start + 4, min(end, start + _LARGEST_DIRECTORY))
    except (struct.error, OverflowError):
        pass
    return b""


def _exif(data: bytes, start: int, end: int) -> bytes:
    parts = {kind: (first, last) for kind, first, last in _boxes(data, start, end)}
    if b"iinf" not in parts or b"iloc" not in parts:
        return b""
    item = _exif_id(data, *parts[b"iinf"])
    if item is None:
        return b""
    method, extents = _extents(data, *parts[b"iloc"], item)
    if method not in (_IN_FILE, _IN_BOX) or (method == _IN_BOX and b"idat" not in parts):
        return b""
    shift = parts[b"idat"][0] if method == _IN_BOX else 0
    block = b"".join(data[shift + place : shift + place + min(size, MAX_EXIF)] for place, size in extents)[:MAX_EXIF]
    (skipped,) = struct.unpack_from(">I", block)  # bytes before the TIFF header
    return block[4 + skipped :]


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of the boxes between two places, `MAX_ITEMS` at most."""
    for _ in range(MAX_ITEMS):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        last = end if size == 0 else start + size
        if last < body:
            return
        yield kind, body, min(last, end)
        start = last


def _exif_id(data: bytes, start: int, end: int) -> int | None:
    """The number of the item of type Exif."""
    wide = data[start] > 0
    for kind, body, last in _boxes(data, start + (8 if wide else 6), end):
        version = data[body] if body < last else 0
        if kind == b"infe" and version in (2, 3):
            form = ">HH4s" if version == 2 else ">IH4s"
            number, _, item_type = struct.unpack_from(form, data, body + 4)
            if item_type == b"Exif":
                return int(number)
    return None


def _extents(data: bytes, start: int, end: int, item: int) -> tuple[int, list[tuple[int, int]]]:
    """Where an item is: in the file or in the box `idat`, and the place and size of each of its parts."""
    reader = _Numbers(data, start, end)
    version = reader.take(1)
    reader.take(3)
    sizes, more = reader.take(1), reader.take(1)
    offset_size, length_size, base_size, index_size = sizes >> 4, sizes & 15, more >> 4, more & 15
    wide = 4 if version == 2 else 2
    for _ in range(min(reader.take(wide), MAX_ITEMS)):
        number = reader.take(wide)
        method = reader.take(2) & 15 if version in (1, 2) else _IN_FILE
        reader.take(2)
        base = reader.take(base_size)
        extents = []
        for _ in range(reader.take(2)):
            if version in (1, 2):
                reader.take(index_size)
            place, size = base + reader.take(offset_size), reader.take(length_size)
            extents.append((place, size or MAX_EXIF))
        if number == item:
            return method, extents[:16]
    return -1, []


class _Numbers:
    """Big-endian numbers, one after the other."""

    def __init__(self, data: bytes, place: int, end: int) -> None:
        self.data, self.place, self.end = data, place, end

    def take(self, size: int) -> int:
        """The next number, of `size` bytes.

        Raises:
            struct.error: the box has ended.
        """
        if self.place + size > self.end:
            raise struct.error("the box has ended")
        value = int.from_bytes(self.data[self.place : self.place + size], "big")
        self.place += size
        return value
