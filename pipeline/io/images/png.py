"""PNG: keeping only the chunks that make the pixels, and recovering pixels from a stream that ends early."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from pipeline.io.images.limits import check_parts
from pipeline.io.images.reasons import Damaged, Truncated
from pipeline.io.images.stripped import Stripped, orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 16
_LARGEST_EXIF = 1 << 20


def strip(data: bytes) -> Stripped:
    """The file with only its header, palette, transparency, and all image data in one chunk.

    Text, profiles and animations are left out, and so are transparency with a wrong checksum or length, and bytes after
    the end. A missing end is added.

    Raises:
        ImageError: the file has no header.
    """
    view = memoryview(data)
    kept: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    exif, exif_orientation, ended = b"", 1, False
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            pixels.append(view[start + 8 : min(end - 4, len(data))])
        elif kind in (b"IHDR", b"PLTE") or (kind == b"tRNS" and _sound(view[start:end]) and _fits(kept, end - start)):
            kept.setdefault(kind, data[start:end])
        elif kind == b"eXIf":
            exif = data[start + 8 : min(end - 4, start + 8 + _LARGEST_EXIF)]
            exif_orientation = orientation(exif)
        ended = kind == b"IEND"
    if b"IHDR" not in kept:
        raise Truncated() if len(data) < 33 else Damaged()
    chunks = [kept[kind] for kind in (b"IHDR", b"PLTE", b"tRNS") if kind in kept]
    ends = [*_chunk(b"IDAT", b"".join(pixels)), *_chunk(b"IEND", b"")]
    return Stripped(b"".join([SIGNATURE, *chunks, *ends]), exif_orientation, not ended, exif)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk; only the end of image data may lie beyond that of the file.

    If a chunk before the image data has a wrong length, the file is searched for the image data.
    """
    position, parts, seen = len(SIGNATURE), 0, False
    while position + 8 <= len(data):
        check_parts(parts := parts + 1)
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind.isalpha() and (end <= len(data) or kind == b"IDAT"):
            yield kind, position, end
            if kind == b"IEND":
                return
            seen = seen or kind == b"IDAT"
            position = end
        else:
            image_data = -1 if seen else data.find(b"IDAT", position + 5)
            if image_data < 0:
                return
            position = image_data - 4


def _sound(chunk: memoryview) -> bool:
    """Whether the checksum of a chunk is correct."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


def _fits(kept: dict[bytes, bytes], length: int) -> bool:
    """Whether a transparency chunk of `length` bytes fits the colour type in the header."""
    colour = kept.get(b"IHDR", b"").ljust(18, b"\0")[17]
    return length - 12 == {0: 2, 2: 6}.get(colour, length - 12)


def size(stripped: bytes) -> tuple[int, int]:
    """Width and height, from the result of `strip`."""
    width, height = struct.unpack_from(">II", stripped, len(SIGNATURE) + 8)
    return width, height


def refill(data: bytes, stripped: bytes) -> tuple[bytes, bool]:
    """The image with a valid stream of image data, zeros in place of missing bytes, and whether any were missing.

    A stream that lacks only its checksum has all pixels. So has one with a wrong checksum if those of its chunks are
    correct: the encoder wrote it that way.

    Args:
        data: the file.
        stripped: the result of `strip`, of a size that has been checked.

    Raises:
        ImageError: the stream is damaged before its end.
    """
    start = stripped.index(b"IDAT", len(SIGNATURE) + 25) - 4
    (length,) = struct.unpack_from(">I", stripped, start)
    view = memoryview(data)
    as_written = all(_sound(view[first:end]) for kind, first, end in _chunks(data) if kind == b"IDAT")
    wanted = _raw_bytes(stripped[len(SIGNATURE) + 8 :])
    raw = _inflate(stripped[start + 8 : start + 8 + length], wanted, checked=not as_written)
    missing = wanted - len(raw)
    stream = zlib.compress(raw + bytes(missing), 0)
    return b"".join([stripped[:start], *_chunk(b"IDAT", stream), *_chunk(b"IEND", b"")]), missing > 0


def _inflate(stream: bytes, wanted: int, *, checked: bool) -> bytes:
    """Decompress up to `wanted` bytes."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS if checked else -zlib.MAX_WBITS)
    pieces: list[bytes] = []
    size = 0
    for start in range(0 if checked else 2, len(stream), _PIECE):  # without a checksum, skip the zlib header
        try:
            # Never 0, which would mean no limit; after the last byte the checksum is still to come.
            pieces.append(inflater.decompress(stream[start : start + _PIECE], max(1, wanted - size)))
        except zlib.error as error:
            raise Damaged() from error
        size += len(pieces[-1])
        if size > wanted or inflater.eof or inflater.unconsumed_tail:
            break
    return b"".join(pieces)[:wanted]


def _raw_bytes(header: bytes) -> int:
    """Bytes of all rows with their filter bytes, before compression."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", header)
    bits = depth * _CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    size = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * bits + 7) // 8)
    return size


def _chunk(kind: bytes, body: bytes) -> list[bytes]:
    # Pillow does not check the checksums of IDAT and IEND, so they are not computed.
    return [struct.pack(">I4s", len(body), kind), body, bytes(4)]
