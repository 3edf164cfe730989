"""Builders of small pictures in every format, and of parts of files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image


def picture() -> Image.Image:
    """95x63 (rows of odd length) in blocks of 5x5 pixels of random colours, which lossy formats nearly keep."""
    blocks = np.random.default_rng(0).integers(0, 256, (13, 19, 3), dtype=np.uint8)
    return Image.fromarray(np.kron(blocks, np.ones((5, 5, 1), np.uint8))[:63])


def encoded(form: str, image: Image.Image | None = None, **options: Any) -> bytes:
    image = image or picture()
    buffer = io.BytesIO()
    if form == "HEIF":
        pillow_heif.from_pillow(image).save(buffer, **options)
    elif form == "JXL":
        from pillow_jxl.pillow_jxl import Encoder

        encoder = Encoder(mode=image.mode, lossless=True, quality=100, use_container=options.get("boxed", False))
        jpeg = options.get("jpeg")
        return bytes(encoder(jpeg or image.tobytes(), *image.size, jpeg_encode=jpeg is not None))
    else:
        image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, stream: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def rows(samples: np.ndarray[Any, Any]) -> bytes:
    """The compressed rows of a PNG with their filter bytes."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in samples))


def difference(decoded: Image.Image, expected: Image.Image) -> float:
    """Mean absolute difference of all samples."""
    assert decoded.size == expected.size
    both = (np.asarray(image.convert("RGB")).astype(np.int32) for image in (decoded, expected))
    return float(np.abs(np.subtract(*both)).mean())
