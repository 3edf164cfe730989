"""Recognising the format of a file by its first bytes, and the suffixes of photos."""

from __future__ import annotations

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile
from pillow_heif.as_plugin import HeifImageFile

from pipeline.io.images import boxes, jxl, png
from pipeline.io.images.reasons import ImageError

OPENERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "DIB": BmpImagePlugin.DibImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "HEIF": HeifImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
"""Pillow's classes that read a format's header. JPEG XL and PPM are read by this package."""

_REGISTERED = {
    *(opener.format for opener in OPENERS.values()),
    *(MpoImagePlugin.MpoImageFile.format, PpmImagePlugin.PpmImageFile.format),
}

SUFFIXES: tuple[str, ...] = tuple(
    sorted(
        {suffix for suffix, name in Image.EXTENSION.items() if name in _REGISTERED}
        # Suffixes that plugins register only together with their openers, for the whole process.
        | {".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl"}
        # Further suffixes of JPEG, and of TIFF beyond 4 GB, that Pillow's registry lacks.
        | {".jif", ".jfi", ".pjpeg", ".pjp", ".btf"}
    )
)
"""Lower-case suffixes of photos that can be decoded: Pillow's own for the formats above, and those of HEIF and JPEG XL.
Formats that run other programs or do not hold photos are left out."""

UNDECODABLE: tuple[str, ...] = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    *(".ai", ".eps", ".exr", ".hdr", ".icns", ".ico", ".jxr", ".kra", ".pcx", ".psb", ".psd", ".qoi", ".svg", ".svgz"),
    *(".tga", ".wdp", ".xcf"),
)
"""Lower-case suffixes of images that cannot be decoded: camera raw files, drawings, and projects of image editors. Such
files are counted, not read."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (png.SIGNATURE, "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    *((order, "TIFF") for order in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (jxl.BARE, "JPEG XL"),
    (jxl.BOXED, "JPEG XL"),
    *((bytes([size, 0, 0, 0]), "DIB") for size in (12, 40, 52, 56, 64, 108, 124)),
)
_UNSUPPORTED = (
    *((mark, "camera raw") for mark in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")),
    (b"8BPS", "Photoshop"),
    (b"gimp xcf", "GIMP"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"II\xbc", "JPEG XR"),
    (b"qoif", "QOI"),
)


def identify(data: bytes) -> str:
    """The format: a key of `OPENERS`, "JPEG XL" or "PPM".

    Raises:
        ImageError: "unsupported format: ..." or "not an image".
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    for mark, name in _MAGIC:
        if data.startswith(mark):
            return name
    if data[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf") and data[2:3] in b" \t\n\v\f\r#":
        return "PPM"
    boxed = boxes.brand(data)
    if boxed in OPENERS:
        return boxed
    known = boxed or next((name for mark, name in _UNSUPPORTED if data.startswith(mark)), None)
    if known is None and b"<svg" in data[:1024].lower():
        known = "SVG"
    raise ImageError(f"unsupported format: {known}" if known else "not an image")
