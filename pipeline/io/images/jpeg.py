"""JPEG: removing metadata, counting the scans that the decoder must make, and completing files that lack their end."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from pipeline.io.images.limits import check_parts, check_scans
from pipeline.io.images.reasons import ImageError
from pipeline.io.images.stripped import Stripped, orientation

END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_IN_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_METADATA = {*range(0xE1, 0xEE), 0xEF, *range(0xF0, 0xFF)}
"""All application segments except JFIF and Adobe, which define the colours; and comments."""

FILLERS = (b"", b"\x55\xa3\x1c" * 21)
"""Bits in place of the missing end of a file. If the pixels are the same with both, none are missing."""

_ZEROS = 16
"""Image data never have this many zero bytes in a row."""


@dataclass(frozen=True)
class Scan:
    """The part of the image that one scan adds.

    Attributes:
        components: ids of the components.
        first: first of the 64 coefficients, in zigzag order.
        last: last coefficient.
        low: number of bits left for later scans.
    """

    components: tuple[int, ...]
    first: int
    last: int
    low: int


def strip(data: bytes) -> Stripped:
    """The file with a header without metadata.

    Raises:
        ImageError: the file has more scans than `check_scans` allows, more segments than `check_parts` does, or samples
            of more than 8 bits.
    """
    kept = [data[:2]]
    exif, exif_orientation, position, parts, size, cut_short = b"", 1, 2, 0, (0, 0), False
    while match := _MARKER.search(data, position):
        check_parts(parts := parts + 1)
        marker, position = match[1][0], match.end()
        if marker in _STANDALONE:
            continue
        if marker == 0xDA:
            kept.append(b"\xff\xda" + data[position:])
            break
        body = _body(data, position)
        cut_short = position + 2 <= len(data) < position + int.from_bytes(data[position : position + 2], "big")
        if marker in _FRAMES and len(body) > 4:
            depth, height, width = struct.unpack_from(">BHH", body)
            if depth != 8:
                raise ImageError(f"unsupported format: {depth}-bit JPEG")
            size = (width, height)
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and exif_orientation == 1:
            exif, exif_orientation = exif or body, orientation(body)
        if marker not in _METADATA:
            kept.append(b"\xff" + match[1] + data[position : position + 2] + body)
        position += 2 + len(body)
    stripped = b"".join(kept)
    if stripped.count(b"\xff\xda") > 1:
        check_scans(*size, len(scans(stripped)[0]))
    return Stripped(stripped, exif_orientation, cut_short or unwritten(stripped) > 0, exif)


def scans(data: bytes) -> tuple[list[Scan], bool]:
    """The scans, and whether the end of the image follows them."""
    complete: list[Scan] = []
    position, parts = 2, 0
    pattern = _MARKER
    while match := pattern.search(data, position):
        check_parts(parts := parts + 1)
        marker, position = match[1][0], match.end()
        if marker == END[1]:
            return complete, True
        if marker in _STANDALONE:
            continue
        body = _body(data, position)
        position += 2 + len(body)
        if marker == 0xDA and body and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
            complete.append(Scan(tuple(body[1 : 1 + 2 * body[0] : 2]), first, last, bits & 15))
            pattern = _IN_SCAN
    return complete, False


def unwritten(data: bytes) -> int:
    """Number of zero bytes at the end that are not image data but disk space that was never written."""
    zeros = len(data) - len(data.rstrip(b"\0"))
    return zeros if zeros >= _ZEROS and not scans(data)[1] else 0


def ends(data: bytes) -> list[bytes]:
    """Versions of a file that lacks its end, one with each of the `FILLERS`."""
    written = data[: len(data) - unwritten(data)]
    if written.endswith(b"\xff"):
        # The first half of a marker, or of an image byte 0xFF, which is written as 0xFF 0x00.
        written = written + b"\0" if len(written) < len(data) else written[:-1]
    return [written + filler + END for filler in FILLERS]


def all_scanned(data: bytes) -> bool:
    """Whether the scans cover all bits of all components, so that no whole scan is missing at the end."""
    frame = _frame(data)
    if frame is None:
        return False
    progressive, components = frame
    all_scans, _ = scans(data)
    for component in components:
        own = [scan for scan in all_scans if component in scan.components]
        wanted = range(64) if progressive else range(1)
        for coefficient in wanted:
            if not any(scan.low == 0 and scan.first <= coefficient <= max(scan.last, scan.first) for scan in own):
                return False
    return True


def _frame(data: bytes) -> tuple[bool, tuple[int, ...]] | None:
    position = 2
    while match := _MARKER.search(data, position):
        marker, position = match[1][0], match.end()
        if marker in _STANDALONE:
            continue
        body = _body(data, position)
        position += 2 + len(body)
        if marker in _FRAMES:
            return marker in (0xC2, 0xC6, 0xCA, 0xCE), tuple(body[6::3])
    return None


def _body(data: bytes, position: int) -> bytes:
    """The content of the segment whose length is at `position`."""
    length = int.from_bytes(data[position : position + 2], "big")
    return data[position + 2 : position + max(length, 2)]
