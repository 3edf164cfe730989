"""PBM, PGM, PPM and PFM, read with NumPy: Pillow reads text and unusual ranges sample by sample in Python."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.io.images.limits import check_parts, check_size
from pipeline.io.images.reasons import Damaged, ImageError, Truncated
from pipeline.io.images.samples import to_8_bit

_HEADER = 1 << 16
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])"
_NUMBER = rb"(\d{1,9})(?!\d)"
_SIZE = re.compile(rb"P([1-6])" + _SPACE + rb"+" + _NUMBER + _SPACE + rb"+" + _NUMBER)
_MAXIMUM = re.compile(_SPACE + rb"+" + _NUMBER)
_FLOAT = re.compile(rb"Pf\s+(\d{1,9})\s+(\d{1,9})\s+(-?[\d.eE+-]{1,20})\s")
_COMMENT = re.compile(rb"#[^\r\n]*")
MAX_TEXT = 200_000_000
"""Bytes of samples written as text; reading them takes about eight times as much memory."""


def load(data: bytes, max_pixels: int, *, allow_truncated: bool) -> tuple[Image.Image, bool]:
    """The picture in mode 1, L, RGB or F, and whether it is cut short.

    Raises:
        ImageError: the file is cut short and that is not allowed, its header is damaged, or it is too large.
    """
    if data[:2] == b"Pf":
        return _load_float(data, max_pixels, allow_truncated)
    header = _SIZE.match(data, 0, _HEADER)
    if header is None:
        raise Truncated() if len(data) < 16 else Damaged()
    kind, width, height = (int(group) for group in header.groups())
    check_size(width, height, max_pixels)
    position, maximum = header.end(), 1
    if kind not in (1, 4):
        ranged = _MAXIMUM.match(data, position, position + _HEADER)
        if ranged is None:
            raise Truncated() if len(data) - position < 6 else Damaged()
        maximum, position = int(ranged[1]), ranged.end()
    if not 0 < maximum < 65536:
        raise Damaged()
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    body = memoryview(data)[position + 1 :]
    if kind == 4:
        row = (width + 7) // 8
        samples, cut_short = _fill(np.frombuffer(body[: row * height], np.uint8), row * height, allow_truncated)
        bits = np.unpackbits(samples.reshape(height, row), axis=1)[:, :width]
        return Image.fromarray(np.where(bits == 0, np.uint8(255), np.uint8(0))), cut_short
    if kind in (5, 6):
        dtype = np.dtype(np.uint8 if maximum < 256 else ">u2")
        whole = min(len(body) // dtype.itemsize, count)
        samples = np.frombuffer(body[: whole * dtype.itemsize], dtype)
    else:
        samples = _from_text(data[position:], count, bits=kind == 1)
    samples, cut_short = _fill(samples, count, allow_truncated)
    if kind == 1:
        samples = 1 - np.minimum(samples, 1)
    scaled = to_8_bit(samples, maximum) if maximum != 255 or samples.dtype != np.uint8 else samples
    return Image.fromarray(scaled.reshape((height, width, 3) if channels == 3 else (height, width))), cut_short


def _load_float(data: bytes, max_pixels: int, allow_truncated: bool) -> tuple[Image.Image, bool]:
    header = _FLOAT.match(data, 0, _HEADER)
    if header is None:
        raise Damaged()
    width, height = int(header[1]), int(header[2])
    check_size(width, height, max_pixels)
    dtype = np.dtype("<f4" if float(header[3]) < 0 else ">f4")
    whole = min((len(data) - header.end()) // 4, width * height)
    samples, cut_short = _fill(np.frombuffer(data, dtype, whole, header.end()), width * height, allow_truncated)
    return Image.fromarray(samples.astype(np.float32).reshape(height, width)[::-1].copy()), cut_short  # upside down


def _from_text(text: bytes, count: int, *, bits: bool) -> NDArray[Any]:
    """The first `count` samples, or fewer if the text ends."""
    if len(text) > MAX_TEXT:
        raise ImageError(f"image too slow to decode: more than {MAX_TEXT} bytes of text")
    check_parts(text.count(b"#"))
    text = _COMMENT.sub(b"", text)
    if text.translate(None, b"0123456789 \t\n\v\f\r"):
        raise Damaged()
    if bits:  # bits may be written without spaces
        return np.frombuffer(text.translate(None, b" \t\n\v\f\r"), np.uint8)[:count] - ord("0")
    digits = np.frombuffer(text, np.uint8) >= ord("0")
    available = int(np.count_nonzero(digits[1:] & ~digits[:-1])) + int(digits[:1].any())
    if not available:
        return np.zeros(0, np.uint16)
    # If asked for more numbers than the text has, NumPy returns garbage. Numbers that overflow become its largest.
    numbers = np.fromstring(text.decode("ascii"), np.int64, min(count, available), sep=" ")
    return np.minimum(numbers, 65535).astype(np.uint16)


def _fill(samples: NDArray[Any], count: int, allow_truncated: bool) -> tuple[NDArray[Any], bool]:
    lacking = count - len(samples)
    if lacking > 0 and not allow_truncated:
        raise Truncated()
    return (np.concatenate([samples, np.zeros(lacking, samples.dtype)]) if lacking > 0 else samples), lacking > 0
