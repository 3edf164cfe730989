"""Decodes photos in a process of its own, so that a hostile file can end that process at most.

Run as a program, it answers each request on standard input: the most pixels of a photo, the longest side of the answer
and its kind, then the file's length and the file. The answer is a letter, a length and that many bytes: ``k`` and the
picture, or ``e`` and why there is none. Neither side reads a pickle.
"""

from __future__ import annotations

import io
import struct
import sys
from typing import BinaryIO

from PIL import Image

from pipeline.io.images import ImageError, decode

REQUEST = struct.Struct(">QIcQ")
ANSWER = struct.Struct(">cQ")
JPEG, PIXELS = b"j", b"p"
"""Kinds of answers: a JPEG to show, or the pixels as a PPM file."""
_QUALITY = 85


def picture_of(data: bytes, max_pixels: int, side: int, kind: bytes) -> bytes:
    """An encoded photo anew: upright, without its metadata, and no larger than `side` (0: as large as it is).

    Raises:
        ImageError: it cannot be decoded.
    """
    # What is there of a photo is shown; but what is searched for must be whole, as in an index.
    image = decode(data, max_pixels=max_pixels, allow_truncated=kind == JPEG)
    if side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    if kind == PIXELS:
        image.save(buffer, "PPM")
    else:
        image.save(buffer, "JPEG", quality=_QUALITY, optimize=max(image.size) <= 1280)
    return buffer.getvalue()


def main(memory: int, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until there are no more."""
    import resource  # Unix only

    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if allowed == resource.RLIM_INFINITY else min(memory, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while header := requests.read(REQUEST.size):
        max_pixels, side, kind, length = REQUEST.unpack(header)
        data = requests.read(length)
        try:
            state, answer = b"k", picture_of(data, max_pixels, side, kind)
        except ImageError as error:
            reason = "image too large for this server's memory" if isinstance(error.__cause__, MemoryError) else error
            state, answer = b"e", str(reason).encode()
        except MemoryError:
            state, answer = b"e", b"image too large for this server's memory"
        except Exception as error:  # what an encoder refuses, such as a side beyond what JPEG can hold
            state, answer = b"e", f"image cannot be shown: {type(error).__name__}".encode()
        answers.write(ANSWER.pack(state, len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
