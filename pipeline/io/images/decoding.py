"""Decoding one photo: choosing the decoder and the bytes that it gets, and handling files that end early."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.io.images import boxes, jpeg, jxl, netpbm, png, tiff, webp
from pipeline.io.images.formats import OPENERS, identify
from pipeline.io.images.limits import MAX_FILLED, MAX_PIXELS, MAX_RUN_LENGTH_BYTES, check_size
from pipeline.io.images.reasons import Damaged, ImageError, Truncated, image_error
from pipeline.io.images.samples import to_rgb
from pipeline.io.images.stripped import Stripped, orientation
from pipeline.io.images.taken import exif_date

_STRIP: dict[str, Callable[[bytes], Stripped]] = {
    "JPEG": jpeg.strip,
    "PNG": png.strip,
    "WebP": webp.strip,
    "TIFF": tiff.strip,
    "AVIF": boxes.strip,
    "HEIF": boxes.strip,
    "JPEG 2000": boxes.strip_jpeg_2000,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRUNCATED, _TAKEN = "truncated", "taken"
_ACCEPT_CUT_SHORT = ("JPEG", "WebP")
"""Formats whose decoders accept a file that is cut short as if it were complete."""
_BY_ROWS = ("BMP", "DIB", "GIF", "TIFF")
"""Formats whose decoders return the rows decoded so far."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, allow_truncated: bool = False) -> Image.Image:
    """Decode one photo.

    EXIF orientation is applied, the first frame of an animation is taken, 16- and 32-bit samples are scaled (not
    clipped) to 8 bit, CMYK is converted and transparency is flattened on white. Metadata never prevent decoding, and a
    file that lacks only bytes after its pixels is complete. Pillow's process-wide limits and switches are not changed.

    Args:
        data: the encoded file.
        max_pixels: photos with more pixels (width x height) are refused by their header, before decoding.
        allow_truncated: decode the available part of a file that ends early; `is_truncated` tells of it afterwards.

    Returns:
        A plain RGB image that is upright and holds no reference to ``data``. Its `info` is empty except for what
        `is_truncated` and `taken_at` read.

    Raises:
        ImageError: "empty file", "not an image", "unsupported format: ...", "image too large: ...", "image too long:
            ...", "image too slow to decode: ...", "truncated image", "damaged image" or "unsupported colour mode: ...".
    """
    if not data:
        raise ImageError("empty file")
    name = identify(data)
    try:
        rgb, truncated, exif = _decode(name, data, max_pixels, allow_truncated)
    except Exception as error:  # decoders can raise anything from SyntaxError to struct.error on hostile bytes
        raise image_error(error, name) from error
    rgb.info = {_TRUNCATED: True} if truncated else {}  # remaining EXIF could cause a second rotation later
    if (taken := exif_date(exif)) is not None:
        rgb.info[_TAKEN] = taken
    return rgb


def is_truncated(image: Image.Image) -> bool:
    """Whether `decode` could decode only a part of this image because its file ends early."""
    return bool(image.info.get(_TRUNCATED, False))


def taken_at(image: Image.Image) -> datetime | None:
    """When the photo that `decode` made this image of was taken: local time without a zone; None if unknown."""
    taken = image.info.get(_TAKEN)
    return taken if isinstance(taken, datetime) else None


class _Decoded(NamedTuple):
    """An upright RGB image, whether it is cut short, and the EXIF of its file."""

    image: Image.Image
    truncated: bool
    exif: bytes


def _decode(name: str, data: bytes, max_pixels: int, allow_truncated: bool) -> _Decoded:
    if name == "PPM":
        image, truncated = netpbm.load(data, max_pixels, allow_truncated=allow_truncated)
        return _Decoded(to_rgb(image), truncated, b"")
    if name == "JPEG XL":
        loaded = jxl.load(data, max_pixels)
        if isinstance(loaded, Image.Image):
            return _Decoded(to_rgb(loaded), False, loaded.info["exif"])
        name, data = "JPEG", loaded
    stripped = _STRIP.get(name, Stripped)(data)
    try:
        if stripped.cut_short and name in _ACCEPT_CUT_SHORT:
            raise Truncated()
        return _Decoded(_pixels(name, stripped, max_pixels), False, stripped.exif)
    except Exception as error:
        reason = image_error(error, name, cut_short=stripped.cut_short)
        if isinstance(reason, Truncated) or (isinstance(reason, Damaged) and name == "PNG"):
            return _Decoded(*_complete(name, data, stripped, max_pixels, allow_truncated), stripped.exif)
        raise reason from error


def _pixels(name: str, stripped: Stripped, max_pixels: int) -> Image.Image:
    image = _open(name, stripped, max_pixels)
    swapped = _swapped(image)
    image.load()
    if swapped and not any(map(any, image.getextrema())):  # type: ignore[arg-type]  # 0..255 in 16 bits
        image = _open(name, stripped, max_pixels)
        image.tile = swapped
        image.load()
    return _upright(image, stripped)


def _swapped(image: ImageFile) -> list[Any]:
    """Tiles that read the low byte of 16-bit colours, where Pillow keeps the high one; empty for other images."""
    tiles = []
    for tile in image.tile:
        raw = tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
        other = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B"}.get(str(raw))
        if other is None or tile.codec_name not in ("zip", "raw"):
            return []
        tiles.append(tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other))
    return tiles


def _open(name: str, stripped: Stripped, max_pixels: int) -> ImageFile:
    # Not Image.open(), which applies a process-wide size limit.
    image = OPENERS[name](io.BytesIO(stripped.data), "")
    check_size(*image.size, max_pixels)
    if name in ("BMP", "DIB") and image.tile[0][0] == "bmp_rle" and len(stripped.data) > MAX_RUN_LENGTH_BYTES:
        raise ImageError(f"image too slow to decode: more than {MAX_RUN_LENGTH_BYTES} run-length encoded bytes")
    return image


def _upright(image: Image.Image, stripped: Stripped) -> Image.Image:
    way_up = stripped.orientation
    if isinstance(exif := image.info.get("exif"), bytes):  # where Pillow puts the orientation of AVIF's container
        way_up = orientation(exif)
    rgb = to_rgb(image)
    return rgb.transpose(_UPRIGHT[way_up]) if way_up in _UPRIGHT else rgb


def _complete(
    name: str, data: bytes, stripped: Stripped, max_pixels: int, allow_truncated: bool
) -> tuple[Image.Image, bool]:
    """The pixels of a file that ends early, and whether any are missing.

    None are missing if the picture is the same whatever the missing bytes would have been.

    Raises:
        ImageError: pixels are missing, and this is not allowed or none can be decoded.
    """
    if name == "PNG":
        check_size(*png.size(stripped.data), max_pixels)
        refilled, missing = png.refill(data, stripped.data)
        if missing and not allow_truncated:
            raise Truncated()
        return _pixels(name, Stripped(refilled, stripped.orientation), max_pixels), missing
    pictures: list[Image.Image] = []
    versions = _filled(name, data, stripped)
    for version in versions:
        try:
            pictures.append(_pixels(name, version, max_pixels))
        except Exception:
            break
    scanned = name != "JPEG" or jpeg.all_scanned(stripped.data)
    if scanned and len(pictures) == len(versions) and pictures[0].tobytes() == pictures[-1].tobytes():
        return pictures[0], False
    if not allow_truncated or not (pictures or name in _BY_ROWS):
        raise Truncated()
    return (pictures[0] if pictures else _part(name, stripped, max_pixels)), True


def _filled(name: str, data: bytes, stripped: Stripped) -> list[Stripped]:
    """Versions of the file with different bytes in place of the missing ones."""
    if name == "WebP":
        return [webp.strip(data, filler) for filler in (b"\0", b"\xff")]
    if name == "JPEG":
        return [Stripped(end, stripped.orientation) for end in jpeg.ends(stripped.data)]
    if name == "JPEG 2000":
        # OpenJPEG refuses files that lack more than their end.
        return [Stripped(data.removesuffix(b"\xff") + boxes.JPEG_2000_END)]
    short = boxes.missing_bytes(data) if _STRIP.get(name) is boxes.strip else 1 << 16
    return [
        Stripped(stripped.data + filler * min(short, MAX_FILLED), stripped.orientation) for filler in (b"\0", b"\xff")
    ]


def _part(name: str, stripped: Stripped, max_pixels: int) -> Image.Image:
    """The part that was decoded before the file ended."""
    image = _open(name, stripped, max_pixels)
    try:
        image.load()
    except OSError:
        if image._im is None:
            raise Truncated() from None
        image.tile = []
    return _upright(image, stripped)
