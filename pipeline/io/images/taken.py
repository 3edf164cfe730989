"""The time at which a photo was taken, from its EXIF."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

FIRST_YEAR, LAST_YEAR = 1826, 2099
"""Years that are believed: the first photograph was taken in 1826, and scans carry the dates of their originals."""

_DATE_TIME, _SUBDIRECTORY = 0x0132, 0x8769
_ORIGINAL, _DIGITIZED = 0x9003, 0x9004
_FRACTION = {_ORIGINAL: 0x9291, _DIGITIZED: 0x9292, _DATE_TIME: 0x9290}
"""The tag with the fraction of the second, by the tag with the date."""
_ASCII, _LONG8 = 2, (16, 18)
_MAX_ENTRIES = 4096
"""Entries of a directory that are looked at. Cameras write some 60."""
_MAX_TEXT = 64
_DATE = re.compile(
    r"\s*(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)[ T](\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s*(?:Z|[+-]\d\d:?\d\d)?\s*",
    re.ASCII,
)


def exif_date(exif: bytes) -> datetime | None:
    r"""When a photo was taken, by the clock of its camera; None if unknown.

    The first of DateTimeOriginal, DateTimeDigitized and DateTime that holds a date, with its SubSecTime. A camera's
    clock shows local time, and few cameras write a zone (OffsetTime): it is not applied, so that the times of all
    photos compare as their clocks did. Malformed and absurd values are unknown. Only two directories are read, each
    once and within bounds, so that hostile EXIF costs nothing.

    Args:
        exif: a TIFF header and its directories, with or without `Exif\0\0` before it; or a TIFF file.

    Returns:
        Local time without a zone, to the microsecond.
    """
    try:
        return _date(memoryview(exif))
    except (struct.error, ValueError, OverflowError):
        return None


class _Layout(NamedTuple):
    """How numbers are stored: those of TIFF, or those of BigTIFF, whose offsets have eight bytes."""

    order: str
    first: int
    entries: str
    entry: str
    offset: str


def _layout(block: memoryview) -> _Layout | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is not None:
        return _Layout(order, 4, f"{order}H", f"{order}HHI4s", f"{order}I")
    order = {b"II+\0": "<", b"MM\0+": ">"}.get(bytes(block[:4]))
    return None if order is None else _Layout(order, 8, f"{order}Q", f"{order}HHQ8s", f"{order}Q")


def _date(exif: memoryview) -> datetime | None:
    block = exif[6:] if bytes(exif[:6]) == b"Exif\0\0" else exif
    layout = _layout(block)
    if layout is None:
        return None
    (start,) = struct.unpack_from(layout.offset, block, layout.first)
    texts, inner = _directory(block, start, layout)
    if inner is not None:
        with suppress(struct.error, OverflowError):  # if it is missing, what the first directory says remains
            texts |= _directory(block, inner, layout)[0]
    for tag in (_ORIGINAL, _DIGITIZED, _DATE_TIME):
        date = parse_date(texts.get(tag, ""), texts.get(_FRACTION[tag], ""))
        if date is not None:
            return date
    return None


def _directory(block: memoryview, start: int, layout: _Layout) -> tuple[dict[int, str], int | None]:
    """The texts among the entries of a directory that matter, and where the directory of EXIF is."""
    wanted = {_DATE_TIME, _ORIGINAL, _DIGITIZED, *_FRACTION.values()}
    texts: dict[int, str] = {}
    inner = None
    (count,) = struct.unpack_from(layout.entries, block, start)
    size, place = struct.calcsize(layout.entry), start + struct.calcsize(layout.entries)
    for _ in range(min(count, _MAX_ENTRIES, max(0, len(block) - place) // size)):
        tag, kind, length, value = struct.unpack_from(layout.entry, block, place)
        place += size
        if tag == _SUBDIRECTORY and inner is None:
            inner = struct.unpack_from(layout.offset if kind in _LONG8 else f"{layout.order}I", value)[0]
        elif tag in wanted and kind == _ASCII and tag not in texts:
            at = struct.unpack(layout.offset, value)[0]
            text = value[:length] if length <= len(value) else bytes(block[at : at + min(length, _MAX_TEXT)])
            texts[tag] = bytes(text).partition(b"\0")[0].decode("ascii", "replace")
    return texts, inner


def parse_date(text: str, fraction: str = "") -> datetime | None:
    """A date as EXIF has it (``2020:05:17 18:03:59``, or with other separators); None if it is not one.

    Args:
        text: the date and time. A zone behind it is not applied.
        fraction: the digits of the second's fraction, if they are stored apart.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute = (int(number) for number in found.groups()[:5])
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    digits = found[7] or fraction.strip()
    micro = int(digits[:6].ljust(6, "0")) if re.fullmatch(r"[0-9]+", digits) else 0
    try:
        return datetime(year, month, day, hour, minute, int(found[6] or 0), micro)
    except ValueError:
        return None
