"""TIFF: keeping only the first directory, with the tags that define its pixels."""

from __future__ import annotations

import struct

from pipeline.io.images.limits import MAX_PARTS
from pipeline.io.images.reasons import Damaged, ImageError, Truncated
from pipeline.io.images.stripped import Stripped

_KEPT = {
    *(*range(254, 260), 262, 266, 273, *range(277, 280), 284, 292, 293, 317, 320, *range(322, 326)),
    *(332, 334, 336, *range(338, 342), 347, *range(512, 515), *range(515, 522), *range(529, 533)),
}
"""Layout, compression, tables and colours. Text, profiles, EXIF and other directories are left out."""

_ORIENTATION, _SUBFILE, _DNG, _SUBDIRECTORIES = 274, 254, 50706, 330
_REDUCED = 1
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def strip(data: bytes) -> Stripped:
    """The file with a single directory that has only the tags that define its pixels.

    Pillow reads every tag, and follows all directories one by one to see whether there are more images.

    Raises:
        ImageError: the first directory is missing or has more strips or tiles than `MAX_PARTS`, or the file is a camera
            raw file, whose first image is a thumbnail.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data.ljust(4, b"\0"), 2)[0] == 43
    head, count_form, entry_size, value_form = (16, "Q", 20, "Q") if big else (8, "H", 12, "I")
    if len(data) < head:
        raise Truncated()
    (start,) = struct.unpack_from(f"{order}{value_form}", data, 8 if big else 4)
    first = start + struct.calcsize(f"={count_form}")
    if first > len(data):
        raise Truncated()
    (count,) = struct.unpack_from(f"{order}{count_form}", data, start)
    entries = [
        data[place : place + entry_size] for place in range(first, first + min(count, 65536) * entry_size, entry_size)
    ]
    if not entries or len(entries[-1]) < entry_size:
        raise Truncated() if entries else Damaged()
    tags = {tag: entry for entry in reversed(entries) for (tag,) in [struct.unpack_from(f"{order}H", entry)]}
    if _is_raw(tags, data, order):
        raise ImageError("unsupported format: camera raw")
    kept = [tags[tag] for tag in sorted(_KEPT & tags.keys())]
    for entry in kept:
        _check(entry, order, value_form, len(data))
    directory = struct.pack(f"{order}{count_form}", len(kept)) + b"".join(kept) + bytes(8 if big else 4)
    end = start + len(directory)
    stripped = b"".join([data[:start], directory, data[end:]])
    return Stripped(stripped, _tag_orientation(tags, order), exif=data)  # whose first directory is that of EXIF


def _check(entry: bytes, order: str, value_form: str, size: int) -> None:
    _, kind, count = struct.unpack_from(f"{order}HH{value_form}", entry)
    if count > MAX_PARTS:
        raise Damaged()
    length, inline = count * _SIZES.get(kind, 1), struct.calcsize(f"={value_form}")
    if length > inline and struct.unpack_from(f"{order}{value_form}", entry, 4 + inline)[0] + length > size:
        raise Truncated()


def _is_raw(tags: dict[int, bytes], data: bytes, order: str) -> bool:
    """Whether the file has the mark of Canon or Adobe, or a first image that is the thumbnail of another."""
    reduced = _SUBFILE in tags and int.from_bytes(tags[_SUBFILE][8:10], "little" if order == "<" else "big") & _REDUCED
    return data[8:10] == b"CR" or _DNG in tags or bool(reduced and _SUBDIRECTORIES in tags)


def _tag_orientation(tags: dict[int, bytes], order: str) -> int:
    entry = tags.get(_ORIENTATION, b"")
    value = struct.unpack_from(f"{order}H", entry, len(entry) - (8 if len(entry) == 20 else 4))[0] if entry else 1
    return value if 1 <= value <= 8 else 1
