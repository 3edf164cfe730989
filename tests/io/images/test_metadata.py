"""Metadata, however large, numerous or damaged, never prevent decoding, and the orientation is still read."""

from __future__ import annotations

import struct

import pytest
from PIL import Image, PngImagePlugin

from pipeline.io.images import ImageError, decode
from tests.io.images.samples_of import chunk, difference, encoded, picture

PNG_HEADER = 33
JUNK_EXIF = b"Exif\0\0II*\0\xff\xff\xff\x7fjunk"


def in_png(chunks: bytes) -> bytes:
    data = encoded("PNG")
    return data[:PNG_HEADER] + chunks + data[PNG_HEADER:]


def large_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "node " * 600_000, zip=True)
    info.add_itxt("parameters", "prompt " * 500_000, zip=True)
    return encoded("PNG", pnginfo=info)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(large_text, id="text"),
        pytest.param(lambda: encoded("PNG", icc_profile=bytes(2_400_000)), id="profile"),
        pytest.param(lambda: in_png(chunk(b"tEXt", b"a\0b") * 200_000), id="many"),
        pytest.param(lambda: in_png(chunk(b"eXIf", b"II*\0\x08\0\0\0" + b"\xff" * 3_000_000)), id="exif"),
        pytest.param(lambda: in_png(b"\0\0\0\4tEXtabcd\0\0\0\0"), id="checksum"),
        pytest.param(lambda: in_png(b"\0\0\0\2tRNSab\0\0\0\0"), id="checksum of transparency"),
        pytest.param(lambda: in_png(chunk(b"tRNS", b"a")), id="length of transparency"),
        pytest.param(lambda: in_png(b"\0\xff\0\4tEXtabcd\0\0\0\0"), id="length"),
        pytest.param(lambda: in_png(chunk(b"iCCP", b"") + chunk(b"zTXt", b"x") + chunk(b"pHYs", b"")), id="empty"),
        pytest.param(lambda: in_png(chunk(b"acTL", b"x") + chunk(b"fcTL", b"")), id="animation"),
        pytest.param(lambda: encoded("PNG") + bytes(1000), id="trailing"),
        pytest.param(lambda: encoded("PNG")[:-12], id="no end"),
        pytest.param(lambda: encoded("WEBP", lossless=True, exif=JUNK_EXIF, icc_profile=bytes(2_000_000)), id="webp"),
        pytest.param(lambda: encoded("TIFF", tiffinfo={270: "x" * 2_000_000, 34675: bytes(2_000_000)}), id="tiff"),
    ],
)
def test_metadata_do_not_prevent_decoding(data: object) -> None:
    assert callable(data)
    assert difference(decode(data()), picture()) == 0


@pytest.mark.parametrize(
    "segments",
    [
        (b"\xff\xe1\xff\xff" + b"x" * 65533) * 100,
        b"\xff\xe1" + struct.pack(">H", 2 + len(JUNK_EXIF)) + JUNK_EXIF,
        b"\xff\xed\0\x20Photoshop 3.0\x008BIM\x03\xed" + bytes(12),
        b"\xff\xe2\0\x08MPF\0ab",
        b"\xff\xfe\0\2" * 10_000,
        b"\xff" * 10_000,
    ],
    ids=["large", "exif", "photoshop", "mpo", "comments", "fill"],
)
def test_jpeg_metadata_do_not_prevent_decoding(segments: bytes) -> None:
    plain = encoded("JPEG")
    assert difference(decode(plain[:2] + segments + plain[2:]), decode(plain)) == 0


@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_damaged_exif_in_boxes_does_not_prevent_decoding(form: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a harbour"
    data = encoded(form, exif=exif.tobytes())
    start = data.index(exif.tobytes()[6:14])
    assert difference(decode(data[:start] + b"\xff" * 8 + data[start + 8 :]), decode(data)) == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_is_turned_upright(form: str) -> None:
    stored = picture().transpose(Image.Transpose.ROTATE_90)
    options = {"lossless": True} if form == "WEBP" else {} if form in ("PNG", "TIFF") else {"quality": 95}
    exif = Image.Exif()
    exif[0x0112] = 6
    assert difference(decode(encoded(form, stored, exif=exif.tobytes(), **options)), picture()) < 20


def test_overlapping_exif_tags_take_no_memory() -> None:
    """60 kB of tags that all point to the same 60 kB: Pillow's own reader would take 300 MB, and 1 MB of it 80 GB."""
    entries = b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(5000))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + entries
    plain = encoded("JPEG")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + plain[2:]
    assert difference(decode(data), decode(plain)) == 0


def test_a_tiff_gives_its_first_image_whatever_its_directories_point_to() -> None:
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * count, start)  # the next directory is the same one
    assert difference(decode(bytes(data)), picture()) == 0


def test_camera_raw_files_are_not_decoded_as_their_thumbnails() -> None:
    for tags in ({50706: b"\1\4\0\0"}, {254: 1, 330: 8}):
        with pytest.raises(ImageError, match=r"^unsupported format: camera raw$"):
            decode(encoded("TIFF", tiffinfo=tags))


def test_the_number_of_parts_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.io.images.limits.MAX_PARTS", 1000)
    data, webp = encoded("JPEG"), encoded("WEBP")
    for hostile in (
        in_png(chunk(b"tEXt", b"") * 1001),
        data[:2] + b"\xff\xfe\0\2" * 1001 + data[2:],
        webp[:12] + b"XMP \0\0\0\0" * 1001 + webp[12:],
    ):
        with pytest.raises(ImageError, match="image too slow to decode: more than 1000 parts"):
            decode(hostile)
