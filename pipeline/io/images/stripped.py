"""A photo's file without its metadata; beside it the orientation, which decoding needs, and the EXIF with the date."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ORIENTATION = 0x0112
_SHORT = 3
_ENTRY = 12


@dataclass(frozen=True)
class Stripped:
    """The input of a decoder.

    Metadata are left out wherever possible, so that damaged or oversized metadata never prevent decoding.

    Attributes:
        data: the file, with only the parts that make the pixels of its first frame.
        orientation: EXIF orientation, 1 to 8.
        cut_short: whether the container states that the file should be longer.
        exif: the file's EXIF, or as much of it as is read; empty if it has none.
    """

    data: bytes
    orientation: int = 1
    cut_short: bool = False
    exif: bytes = b""


def orientation(exif: bytes) -> int:
    r"""EXIF orientation 1 to 8; 1 if the block has none or cannot be read, which must not prevent decoding.

    Only the first directory is read. Pillow's own reader loads all tags, which takes hundreds of MB for a block of
    64 kB whose tags overlap.

    Args:
        exif: a TIFF header and its directory, with or without `Exif\0\0` before it.
    """
    start = 6 if exif[:6] == b"Exif\0\0" else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[start : start + 4]))
    if order is None or len(exif) < start + 10:
        return 1
    position = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
    if position + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(f"{order}H", exif, position)
    for entry in range(position + 2, min(position + 2 + count * _ENTRY, len(exif) - _ENTRY + 1), _ENTRY):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and 1 <= value <= 8 else 1
    return 1
