"""Decoding photos: whatever people keep in their folders, to upright 8-bit RGB, or one short reason why not."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pipeline.errors import QpertError

MAX_PIXELS = 100_000_000
"""Largest photo that is decoded by default (width x height); 100 megapixels are 300 MB as RGB."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Pillow formats that are tried, in this order. Formats that run other programs (EPS) or wrap others are left out."""

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"}


class ImageError(QpertError):
    """A photo that cannot be decoded. The message is a short reason without path or address, fit for counting."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one photo.

    EXIF orientation is applied, the first frame of an animation is taken, 16- and 32-bit samples are scaled (not
    clipped) to 8 bit, CMYK is converted and transparency is flattened on white. Pillow's process-wide limits and
    switches stay as they are.

    Args:
        data: the encoded file.
        max_pixels: photos with more pixels (width x height) are refused from their header, before decoding.

    Returns:
        A plain RGB image that is upright, holds no reference to ``data`` and has empty ``info``.

    Raises:
        ImageError: "empty file", "not an image", "unsupported format: ...", "image too large: ...",
            "truncated image", "damaged image" or "unsupported colour mode: ...".
    """
    if not data:
        raise ImageError("empty file")
    image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"image too large: {width}x{height} pixels, limit {max_pixels}")
    if width < 1 or height < 1:
        raise ImageError("damaged image")
    try:
        image.load()
        upright = _UPRIGHT.get(_orientation(image))
        rgb = _to_rgb(image)
    except ImageError:
        raise
    except Exception as error:  # decoders raise anything from SyntaxError to struct.error on hostile bytes
        raise ImageError(_reason(error, data)) from error
    if upright is not None:
        rgb = rgb.transpose(upright)
    rgb.info = {}  # an EXIF block left in place would invite a second rotation further on
    return rgb


def _open(data: bytes) -> Image.Image:
    """Read the header with the first of FORMATS that accepts the first bytes.

    Image.open() does the same, but compares the size with a process-wide limit, and warns or raises by that.
    """
    Image.init()
    prefix = data[:16]
    for name in FORMATS:
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        accepted = accept(prefix) if accept is not None else True
        if not accepted or isinstance(accepted, str):  # a string says which library this Pillow lacks
            continue
        try:
            return factory(io.BytesIO(data), "")
        except Image.DecompressionBombError as error:
            raise ImageError("image too large for the WebP decoder") from error
        except Exception as error:  # as above
            raise ImageError(_reason(error, data)) from error
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS:
        raise ImageError("unsupported format: HEIC")
    raise ImageError("not an image")


def _reason(error: Exception, data: bytes) -> str:
    """Truncated where the decoder or the container's own length says so, else damaged."""
    webp_cut_short = data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)
    text = str(error).lower()
    short = any(word in text for word in ("truncated", "but only got", "eof", "not enough image data"))
    return "truncated image" if short or webp_cut_short else "damaged image"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where the block is missing or unreadable, which is no reason to lose the photo."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bit(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return canvas
    if image.mode == "LAB":
        raise ImageError("unsupported colour mode: LAB")
    return image.convert("RGB")  # a copy where the mode is RGB already: it drops the file object


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Greyscale of 16-bit, 32-bit or float samples, scaled by the range that the samples were written in."""
    samples = np.asarray(image)
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        return Image.fromarray(np.rint(np.arange(65536) / 257).astype(np.uint8)[samples])
    samples = np.nan_to_num(samples.astype(np.float32), posinf=0.0, neginf=0.0)
    top = float(samples.max())
    ranges = (1.0, 255.0) if image.mode == "F" else (65535.0, 2.0**31 - 1)
    full = next((limit for limit in ranges if top <= limit), top)
    return Image.fromarray(np.rint(samples.clip(0, full) * (255 / full)).astype(np.uint8))
