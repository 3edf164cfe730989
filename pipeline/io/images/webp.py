"""WebP: keeping only the chunks of the first frame."""

from __future__ import annotations

import struct

from pipeline.io.images.limits import MAX_FILLED, check_parts
from pipeline.io.images.stripped import Stripped, orientation

_FRAME = (b"ALPH", b"VP8 ", b"VP8L")
_ANIMATION, _ALPHA = 0x02, 0x10


def strip(data: bytes, filler: bytes = b"") -> Stripped:
    """The file with only the chunks that make the first frame.

    Args:
        data: the file.
        filler: the byte to put in place of those that the last chunk lacks; without it, the chunk is shortened.
    """
    view = memoryview(data)
    kept: list[bytes | memoryview] = []
    seen: set[bytes] = set()
    exif, exif_orientation, position, parts, missing = b"", 1, 12, 0, 0
    while position + 8 <= len(data) and not missing:
        check_parts(parts := parts + 1)
        kind, size = struct.unpack_from("<4sI", data, position)
        body, end = view[position + 8 : position + 8 + size], position + 8 + size
        wanted = kind in (*_FRAME, b"VP8X", b"ANIM", b"ANMF") and kind not in seen
        if wanted:
            missing = size - len(body)
            filled = filler * min(missing, MAX_FILLED)
            length = len(body) + len(filled)
            # The last chunk of a file of odd length may lack its padding, which holds no pixels.
            kept += [kind, length.to_bytes(4, "little"), body, filled, b"\0" * (length & 1)]
            seen.add(kind)
            if kind == b"VP8X" and size >= 10:
                flags = data[position + 8] & (_ANIMATION | _ALPHA)
                kept[-3:] = [bytes([flags]), body[1:], filled, b"\0" * (length & 1)]
        elif kind == b"EXIF":
            exif = bytes(body[: 1 << 20])
            exif_orientation = orientation(exif)
        if kind in (b"VP8 ", b"VP8L", b"ANMF") and wanted and b"VP8X" not in seen:
            break  # the simple format has only one chunk
        position = end + (size & 1)
    chunks = b"".join(kept)
    cut_short = missing > 0 or not seen.intersection({b"VP8 ", b"VP8L", b"ANMF"})
    stripped = struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WEBP") + chunks
    return Stripped(stripped, exif_orientation, cut_short, exif)
