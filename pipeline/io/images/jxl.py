"""JPEG XL, decoded by pillow-jxl-plugin if it is installed."""

from __future__ import annotations

import importlib.util

from PIL import Image

from pipeline.io.images.boxes import boxes, missing_bytes
from pipeline.io.images.limits import check_size
from pipeline.io.images.reasons import Damaged, ImageError, Truncated

BARE = b"\xff\x0a"
BOXED = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_LARGEST_EXIF = 1 << 20
_MODES = {"L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "I;16": "I;16", "F": "F"}


def load(data: bytes, max_pixels: int) -> Image.Image | bytes:
    """The upright picture with its EXIF in `info`, or the JPEG that the file losslessly contains.

    The plugin's decoder is called directly, since its Pillow plugin decodes before the size can be checked.

    Raises:
        ImageError: the plugin is not installed, or the photo is too large or damaged.
    """
    if importlib.util.find_spec("pillow_jxl") is None:
        raise ImageError("unsupported format: JPEG XL (needs qpert[jxl])")
    check_size(*size(data), max_pixels)
    from pillow_jxl.pillow_jxl import Decoder  # here, since it is an optional dependency

    try:
        was_jpeg, info, pixels, _, metadata = Decoder(num_threads=1)(data)
    except Exception as error:
        # The decoder does not tell whether a bare code stream ends early.
        raise (Truncated() if data.startswith(BOXED) and missing_bytes(data) else Damaged()) from error
    except BaseException as error:  # a Rust panic is not an Exception
        if type(error).__name__ != "PanicException":
            raise
        raise Damaged() from error
    if was_jpeg:
        return bytes(pixels)
    if info.mode not in _MODES:
        raise ImageError(f"unsupported colour mode: {info.mode}")
    image = Image.frombytes(info.mode, (info.width, info.height), bytes(pixels))
    image.info["exif"] = next(
        (_exif(bytes(box.data[:_LARGEST_EXIF])) for box in metadata if box.box_type == b"Exif"), b""
    )
    return image


def _exif(box: bytes) -> bytes:
    """EXIF without the number before it, which says how many bytes precede it and which some encoders leave out."""
    if box[:2] in (b"II", b"MM"):
        return box
    return box[4 + int.from_bytes(box[:4], "big") :]


def size(data: bytes) -> tuple[int, int]:
    """Width and height as stored in the header of the code stream.

    Raises:
        ImageError: the file has no code stream, or its header is incomplete.
    """
    if not data.startswith(BOXED):
        return _size(data[2:16])
    for kind, body, end in boxes(data):
        if kind in (b"jxlc", b"jxlp"):
            stream = data[body + (4 if kind == b"jxlp" else 0) : end]
            if stream[:2] == BARE:
                return _size(stream[2:16])
    raise Damaged()


def _size(head: bytes) -> tuple[int, int]:
    bits = _Bits(head)
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.number()
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return (8 * (bits.take(5) + 1) if small else bits.number()), height


class _Bits:
    """Bits of the header of a code stream, lowest first."""

    def __init__(self, data: bytes) -> None:
        self.left, self.value = 8 * len(data), int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        if count > self.left:
            raise Truncated()
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        self.left -= count
        return taken

    def number(self) -> int:
        return self.take((9, 13, 18, 30)[self.take(2)]) + 1
