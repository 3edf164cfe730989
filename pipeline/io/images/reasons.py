"""The reasons why a photo cannot be decoded, short enough to be counted."""

from __future__ import annotations

from PIL import Image

from pipeline.errors import QpertError

_SHORT = (
    "truncated",
    "but only got",
    "eof",
    "end of file",
    "end of data",
    "not enough image data",
    "insufficient data",
)


class ImageError(QpertError):
    """A photo that cannot be decoded. The message is a short reason without path or address, fit for counting."""


class Truncated(ImageError):
    """A photo whose file ends before its pixels do."""

    def __init__(self, reason: str = "truncated image") -> None:
        super().__init__(reason)


class Damaged(ImageError):
    """A photo whose bytes violate its format."""

    def __init__(self, reason: str = "damaged image") -> None:
        super().__init__(reason)


def image_error(error: Exception, decoder: str, *, cut_short: bool = False) -> ImageError:
    """The reason to report for a photo whose decoder raised `error`.

    Args:
        error: any exception; decoders raise anything from SyntaxError to struct.error on hostile bytes.
        decoder: name of the format.
        cut_short: whether the container states that the file should be longer.
    """
    if isinstance(error, ImageError):
        return error
    if isinstance(error, Image.DecompressionBombError):  # some decoders check Pillow's own limit
        return ImageError(f"image too large for the {decoder} decoder")
    text = str(error).lower()
    if decoder == "HEIF" and "unsupported" in text:
        return ImageError("unsupported format: HEIF without HEVC")
    return Truncated() if cut_short or any(word in text for word in _SHORT) else Damaged()
