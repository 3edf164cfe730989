"""Limits on the cost of decoding one photo. All are checked from the header, before anything is decoded."""

from __future__ import annotations

from pipeline.io.images.reasons import Damaged, ImageError

MAX_PIXELS = 100_000_000
"""Largest photo that is decoded by default (width x height); 100 megapixels are 300 MB as RGB."""

MAX_SIDE = 200_000
"""Longest side in pixels. Every row takes memory, however short it is: 1 x 100,000,000 pixels take 2 GB."""

MAX_SCANS = 64
"""Scans that a JPEG of any size may have. Encoders write about ten."""

MAX_SCANNED = 3_000_000_000
"""Pixels x scans of a JPEG with more scans: even an empty scan passes over all pixels (about 0.7 s per billion)."""

MAX_PARTS = 1_000_000
"""PNG chunks, JPEG segments, WebP chunks or boxes of one file, which are read one by one in Python."""

MAX_FILLED = 1 << 24
"""Bytes that are filled in for missing ones, however many the container states."""

MAX_RUN_LENGTH_BYTES = 10_000_000
"""Bytes of a run-length encoded BMP, which Pillow decodes in Python (about 0.5 s per million)."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse photos that are too large, or empty.

    Raises:
        ImageError: the photo has more than `max_pixels` pixels, a side longer than `MAX_SIDE`, or no pixels.
    """
    if width < 1 or height < 1:
        raise Damaged()
    if width * height > max_pixels:
        raise ImageError(f"image too large: {width}x{height} pixels, limit {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"image too long: {width}x{height} pixels, limit {MAX_SIDE} a side")


def check_scans(width: int, height: int, scans: int) -> None:
    """Refuse a JPEG with too many scans.

    Raises:
        ImageError: the JPEG has more than `MAX_SCANS` scans, and these pass over more than `MAX_SCANNED` pixels.
    """
    if scans > MAX_SCANS and width * height * scans > MAX_SCANNED:
        raise ImageError(f"image too slow to decode: {scans} scans of {width}x{height} pixels")


def check_parts(parts: int) -> None:
    """Refuse a file with too many parts.

    Raises:
        ImageError: the file has more than `MAX_PARTS`.
    """
    if parts > MAX_PARTS:
        raise ImageError(f"image too slow to decode: more than {MAX_PARTS} parts")
