"""Limits on memory and time are checked from the header."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.io.images import MAX_SIDE, ImageError, decode
from pipeline.io.images.jpeg import scans
from tests.io.images.samples_of import encoded, png


def reason(data: bytes, **limits: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, **limits)
    return str(caught.value)


@pytest.mark.parametrize("size", [(1, 100_000_000), (100_000_000, 1), (MAX_SIDE + 1, 2)])
def test_photos_that_are_too_long_are_refused(size: tuple[int, int]) -> None:
    width, height = size
    assert reason(png(width, height, zlib.compress(bytes(100)))) == (
        f"image too long: {width}x{height} pixels, limit 200000 a side"
    )


def test_a_long_photo_below_the_limit_is_decoded() -> None:
    assert decode(encoded("PNG", Image.new("L", (1, MAX_SIDE)))).size == (1, MAX_SIDE)


def with_scans(size: tuple[int, int], more: int) -> bytes:
    data = encoded("JPEG", Image.new("RGB", size, "red"), progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * more + data[-2:]


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    data = with_scans((4000, 4000), 500)
    count = len(scans(data)[0])
    assert reason(data) == f"image too slow to decode: {count} scans of 4000x4000 pixels"
    assert count > 500
    assert decode(with_scans((400, 400), 500)).size == (400, 400)
    assert decode(with_scans((4000, 4000), 20)).size == (4000, 4000)


def test_scan_marks_in_thumbnails_and_trailing_data_are_not_counted() -> None:
    data = encoded("JPEG")
    hidden = b"\xff\xe1" + struct.pack(">H", 60_002) + b"\xff\xda" * 30_000
    assert len(scans(data[:2] + hidden + data[2:] + b"\xff\xda" * 30_000)[0]) == 1
    assert decode(data[:2] + hidden + data[2:] + b"\xff\xda" * 30_000).size == (95, 63)


@pytest.mark.parametrize(
    "data",
    [
        b"P6\n" + b" " * 50_000_000 + b"1 1 255\nabc",
        b"P6\n#" + b"x" * 50_000_000 + b"\n1 1 255\nabc",
        b"P6 1 " + b"9" * 50_000_000,
    ],
    ids=["spaces", "comment", "number"],
)
def test_an_endless_ppm_header_is_refused(data: bytes) -> None:
    assert reason(data) == "damaged image"


def test_a_ppm_written_as_text_is_read_only_up_to_its_last_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    numbers = np.fromstring

    def fromstring(text: str, dtype: type, count: int = -1, *, sep: str) -> np.ndarray[Any, Any]:
        read.append(numbers(text, dtype, count, sep=sep))
        return read[-1]

    monkeypatch.setattr(np, "fromstring", fromstring)
    assert decode(b"P3 2 1 255\n" + b"0 0 99999999999999999999 " * 10_000).getpixel((1, 0)) == (0, 0, 255)
    assert [len(values) for values in read] == [6]
    assert reason(b"P3 2 1 255\n1 2 3") == "truncated image"
    assert (
        reason(b"P3 2 1 255\n" + b"#\n" * 1_000_001 + b"1 " * 6) == "image too slow to decode: more than 1000000 parts"
    )


def test_a_ppm_that_states_a_giant_size_is_refused() -> None:
    assert reason(b"P6 99999 99999 65535\n") == "image too large: 99999x99999 pixels, limit 100000000"


def test_run_length_encoded_bmp_is_limited() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header
    assert decode(data + bytes([64, 5, 0, 0]) * 64 + b"\0\1").size == (64, 64)
    assert "run-length encoded" in reason(data + b"\1\5" * 5_000_001)


def test_a_png_stream_longer_than_its_picture_is_not_unpacked() -> None:
    data = png(8, 8, zlib.compress(bytes(50_000_000)))
    tracemalloc.start()
    try:
        assert decode(data).size == (8, 8)
        assert decode(data[:-20]).size == (8, 8)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_tiff_with_a_million_strips_is_refused() -> None:
    data = bytearray(encoded("TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == 273:
            struct.pack_into("<I", data, entry + 4, 2_000_000)
    assert reason(bytes(data)) == "damaged image"


@pytest.mark.parametrize("form", ["HEIF", "AVIF", "JPEG2000", "WEBP", "JXL", "TIFF", "GIF"])
def test_pixels_are_limited_in_every_format(form: str) -> None:
    assert reason(encoded(form), max_pixels=95 * 63 - 1) == "image too large: 95x63 pixels, limit 5984"
    assert decode(encoded(form), max_pixels=95 * 63).size == (95, 63)


def test_a_jpeg_xl_is_measured_before_it_is_decoded() -> None:
    for width, height in ((8, 8), (256, 256), (300, 200), (1920, 1080), (2000, 3), (5, 9000)):
        buffer = io.BytesIO(encoded("JXL", Image.new("L", (width, height))))
        assert reason(buffer.getvalue(), max_pixels=1) == f"image too large: {width}x{height} pixels, limit 1"
