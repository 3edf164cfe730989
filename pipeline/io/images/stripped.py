"""A photo's file without its metadata, and the one thing metadata are needed for: which way is up."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ORIENTATION = 0x0112
_SHORT = 3
_ENTRY = 12


@dataclass(frozen=True)
class Stripped:
    """What a decoder is given.

    Metadata never reach a decoder where they can be left out: a limit or a fault of theirs must not cost the pixels.

    Attributes:
        data: the file, with only the parts that make the pixels of its first frame.
        orientation: EXIF orientation, 1 to 8.
        cut_short: whether the container says that the file should be longer.
    """

    data: bytes
    orientation: int = 1
    cut_short: bool = False


def orientation(exif: bytes) -> int:
    r"""EXIF orientation 1 to 8; 1 where the block has none or is unreadable, which is no reason to lose the photo.

    Only the first directory is looked at. Pillow's own reader loads all tags, and a block of 64 kB whose tags overlap
    takes it hundreds of MB.

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
