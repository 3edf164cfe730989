"""Files that end early are complete if no pixel is missing; otherwise refused, or decoded in part and marked."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import ImageFile

from pipeline.io.images import ImageError, decode, is_truncated
from tests.io.images.samples_of import difference, encoded, picture, png, rows


def reason(data: bytes, *, allow_truncated: bool = False) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, allow_truncated=allow_truncated)
    return str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", b"\xff", bytes(5000), b"\0\0\0\x18ftypmp42" + bytes(50_000)])
def test_a_jpeg_that_lacks_only_its_end_is_complete(progressive: bool, end: bytes) -> None:
    data = encoded("JPEG", progressive=progressive)
    decoded = decode(data[:-2] + end)
    assert difference(decoded, decode(data)) == 0
    assert not is_truncated(decoded)


@pytest.mark.parametrize("cut", [12, 16, 20])
def test_a_png_that_lacks_only_its_end_or_checksum_is_complete(cut: int) -> None:
    assert difference(decode(encoded("PNG")[:-cut]), picture()) == 0
    assert difference(decode(encoded("PNG", picture().convert("L"))[:-cut]), picture().convert("L")) == 0


def test_a_png_written_with_a_wrong_checksum_is_complete_but_a_changed_one_is_damaged() -> None:
    stream = rows(np.asarray(picture()))
    assert difference(decode(png(95, 63, stream[:-4] + b"abcd")), picture()) == 0
    changed = bytearray(png(95, 63, zlib.compress(zlib.decompress(stream), 0)))
    changed[500] ^= 255
    assert reason(bytes(changed)) == "damaged image"
    assert reason(bytes(changed), allow_truncated=True) == "damaged image"


@pytest.mark.parametrize(
    ("form", "cut"), [("GIF", 1), ("GIF", 2), ("BMP", 3), ("JPEG2000", 1), ("JPEG2000", 2)], ids=str
)
def test_other_formats_may_lack_bytes_after_their_pixels(form: str, cut: int) -> None:
    data = encoded(form)
    if form == "BMP":  # a row of 285 bytes ends with padding, and rows are stored from the bottom up
        assert (95 * 3) % 4 == 1
    decoded = decode(data[:-cut])
    assert difference(decoded, decode(data)) == 0
    assert not is_truncated(decoded)


def test_a_webp_may_lack_the_padding_of_its_last_chunk() -> None:
    data = next(data for quality in range(50, 90) if (data := encoded("WEBP", quality=quality))[-1] == 0)
    chunk_size = int.from_bytes(data[16:20], "little")
    if chunk_size % 2:
        assert difference(decode(data[:-1]), decode(data)) == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF"])
def test_half_a_file_is_truncated(form: str) -> None:
    data = encoded(form)
    assert reason(data[: len(data) // 2]) == "truncated image"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_allow_truncated_decodes_and_marks_the_available_part(form: str, options: dict[str, object]) -> None:
    if options and form != "JPEG":
        return
    switch = ImageFile.LOAD_TRUNCATED_IMAGES
    data = encoded(form, **({"interlace": 0} if form == "GIF" else options))
    part = decode(data[: len(data) * 3 // 4], allow_truncated=True)
    assert is_truncated(part)
    whole, halves = np.asarray(decode(data)), np.asarray(part)
    kept = slice(-20, None) if form == "BMP" else slice(0, 20)  # a BMP begins at the bottom
    assert np.abs(whole[kept].astype(int) - halves[kept]).mean() < (30 if options else 3)
    assert not np.array_equal(whole, halves)
    assert not is_truncated(decode(data, allow_truncated=True))
    assert switch == ImageFile.LOAD_TRUNCATED_IMAGES


def test_unwritten_disk_space_is_not_image_data() -> None:
    for progressive in (False, True):
        data = encoded("JPEG", progressive=progressive)
        holed = data[: len(data) // 2] + bytes(len(data) // 2)
        assert reason(holed) == "truncated image"
        assert is_truncated(decode(holed, allow_truncated=True))


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data = encoded("JPEG", progressive=True)
    last = data.rindex(b"\xff\xc4")
    assert reason(data[:last]) == "truncated image"
    assert is_truncated(decode(data[:last], allow_truncated=True))


def test_a_file_without_pixels_is_always_refused() -> None:
    for form in ("JPEG2000", "HEIF", "PNG", "WEBP"):
        assert reason(encoded(form)[:20], allow_truncated=True) in ("truncated image", "damaged image")


def test_a_boxed_jpeg_xl_is_truncated() -> None:
    pytest.importorskip("pillow_jxl")
    data = encoded("JXL", boxed=True)
    assert reason(data[: len(data) // 2]) == "truncated image"


def test_claimed_sizes_are_not_allocated() -> None:
    data = bytearray(encoded("WEBP"))
    data[16:20] = b"\xff\xff\xff\xff"
    tracemalloc.start()
    try:
        decoded = decode(bytes(data))
        assert tracemalloc.get_traced_memory()[1] < 200_000_000
    finally:
        tracemalloc.stop()
    assert difference(decoded, decode(encoded("WEBP"))) == 0  # the pixels are the same, whatever follows
