"""The date of a photo is read from the EXIF of every container; with hostile EXIF it is null, at no cost."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from datetime import datetime
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.io.images import ImageError, decode, taken_at
from pipeline.io.images.items import exif_item
from pipeline.io.images.taken import exif_date, parse_date
from tests.io.images.samples_of import chunk, encoded, picture

TAKEN = datetime(2020, 5, 17, 18, 3, 59, 250_000)
DATE_TIME, ORIGINAL, DIGITIZED, OFFSET, SUBSECOND = 0x0132, 0x9003, 0x9004, 0x9011, 0x9291
FORMS = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"]


def exif(inner: dict[int, str], **outer: str) -> bytes:
    """EXIF with dates in the directory of EXIF, and `date_time` in the first one."""
    block = Image.Exif()
    if "date_time" in outer:
        block[DATE_TIME] = outer["date_time"]
    block.get_ifd(0x8769).update(inner)
    return bytes(block.tobytes())


SOME = {ORIGINAL: "2020:05:17 18:03:59", SUBSECOND: "25", DIGITIZED: "2021:01:01 00:00:00", OFFSET: "+02:00"}


@pytest.mark.parametrize("form", FORMS)
def test_every_container_gives_the_date(form: str) -> None:
    image = decode(encoded(form, exif=exif(SOME, date_time="2022:01:01 00:00:00")))
    assert taken_at(image) == TAKEN
    assert taken_at(decode(encoded(form))) is None
    assert set(image.info) == {"taken"}  # nothing that could turn it twice


@pytest.mark.parametrize("compressed", [False, True])
def test_jpeg_xl_gives_the_date_unless_it_is_compressed(compressed: bool) -> None:
    pytest.importorskip("pillow_jxl")
    stream = io.BytesIO()
    picture().save(stream, "JXL", exif=exif(SOME), compress_metadata=compressed)
    assert taken_at(decode(stream.getvalue())) == (None if compressed else TAKEN)


def test_a_jpeg_inside_jpeg_xl_gives_its_date() -> None:
    pytest.importorskip("pillow_jxl")
    assert taken_at(decode(encoded("JXL", jpeg=encoded("JPEG", exif=exif(SOME)), boxed=True))) == TAKEN


def test_the_number_before_the_exif_of_jpeg_xl_is_skipped() -> None:
    pytest.importorskip("pillow_jxl")
    stream = io.BytesIO()
    picture().save(stream, "JXL", exif=exif(SOME)[6:])
    data = stream.getvalue()
    start = data.index(b"Exif") - 4
    (size,) = struct.unpack_from(">I", data, start)
    box = struct.pack(">I4sI", size + 4, b"Exif", 0) + data[start + 8 : start + size]
    assert taken_at(decode(data[:start] + box + data[start + size :])) == TAKEN


def test_a_png_may_have_its_date_behind_its_pixels() -> None:
    data = encoded("PNG")
    assert taken_at(decode(data[:-12] + chunk(b"eXIf", exif(SOME)[6:]) + data[-12:])) == TAKEN


def test_the_first_of_three_dates_counts() -> None:
    dates = {ORIGINAL: "2001:01:01 00:00:00", DIGITIZED: "2002:01:01 00:00:00"}
    assert exif_date(exif(dates, date_time="2003:01:01 00:00:00")) == datetime(2001, 1, 1)
    dates[ORIGINAL] = "    :  :     :  :  "
    assert exif_date(exif(dates, date_time="2003:01:01 00:00:00")) == datetime(2002, 1, 1)
    dates[DIGITIZED] = "0000:00:00 00:00:00"
    assert exif_date(exif(dates, date_time="2003:01:01 00:00:00")) == datetime(2003, 1, 1)
    assert exif_date(exif(dates)) is None


def test_a_truncated_photo_has_its_date() -> None:
    data = encoded("JPEG", exif=exif(SOME), quality=95)
    image = decode(data[: len(data) * 2 // 3], allow_truncated=True)
    assert image.info == {"truncated": True, "taken": TAKEN}


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2020:05:17 18:03:59", datetime(2020, 5, 17, 18, 3, 59)),
        ("2020-05-17T18:03:59.5+02:00", datetime(2020, 5, 17, 18, 3, 59, 500_000)),
        ("2020/5/7 8:03", datetime(2020, 5, 7, 8, 3)),
        ("1890:01:02 00:00:00", datetime(1890, 1, 2)),
        ("2020:05:17 18:03:59Z ", datetime(2020, 5, 17, 18, 3, 59)),
        ("2020:02:30 00:00:00", None),
        ("2020:05:17 25:00:00", None),
        ("2020:05:17 18:03:75", None),
        ("2020:05:17", None),
        ("1700:05:17 18:03:59", None),
        ("9999:12:31 23:59:59", None),
        ("\u0662\u0660\u0662\u0660:05:17 18:03:59", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_are_parsed_or_unknown(text: str, date: datetime | None) -> None:
    assert parse_date(text) == date


def test_the_fraction_of_a_second_may_be_anything() -> None:
    whole = datetime(2020, 5, 17, 18, 3, 59)
    for fraction in ("", "  ", "x", "-5", "\u00b2"):
        assert parse_date("2020:05:17 18:03:59", fraction) == whole
    assert parse_date("2020:05:17 18:03:59", "123456789") == whole.replace(microsecond=123_456)


def big_tiff(order: str, kind: int) -> bytes:
    """A BigTIFF with a date in the directory of EXIF, whose place is a number of type `kind`."""
    text = b"2020:05:17 18:03:59\0"
    mark = b"II+\0" if order == "<" else b"MM\0+"
    pointer = struct.pack(f"{order}Q", 44) if kind == 16 else struct.pack(f"{order}II", 44, 0)
    head = mark + struct.pack(f"{order}HHQQ", 8, 0, 16, 1) + struct.pack(f"{order}HHQ", 0x8769, kind, 1) + pointer
    inner = struct.pack(f"{order}QHHQQ", 1, ORIGINAL, 2, len(text), 72)
    return head + inner + text


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [4, 13, 16])
def test_big_tiff_has_dates(order: str, kind: int) -> None:
    assert exif_date(big_tiff(order, kind)) == TAKEN.replace(microsecond=0)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_exif_never_fails(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([exif(SOME, date_time="2022:01:01 00:00:00"), big_tiff("<", 16)]))
    block = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 8))):
        if block:
            block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    date = exif_date(bytes(block))
    assert date is None or 1826 <= date.year <= 2099


@settings(max_examples=200, deadline=None)
@given(data=st.data(), form=st.sampled_from(["AVIF", "HEIF"]))
def test_damaged_directories_of_items_never_fail(data: st.DataObject, form: str) -> None:
    photo = bytearray(BOXED[form])
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, 700))] = data.draw(st.sampled_from([0, 1, 2, 15, 255]))
    assert len(exif_item(bytes(photo))) <= 1 << 20
    with suppress(ImageError):
        decode(bytes(photo))


BOXED = {form: encoded(form, exif=exif(SOME)) for form in ("AVIF", "HEIF")}


def directory(count: int, tag: int, length: int) -> bytes:
    """EXIF with one directory whose entries all point into itself."""
    entry = struct.pack("<HHII", tag, 2, length, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entry * count


def test_hostile_exif_costs_nothing() -> None:
    inside_itself = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + bytes(4)
    blocks = [
        directory(65_535, ORIGINAL, 2**32 - 1),
        directory(65_535, 0x8769, 1),
        inside_itself,
        b"II*\0" + b"\xff" * 8,
    ]
    started = perf_counter()
    assert [exif_date(block) for block in blocks] == [None] * 4
    assert perf_counter() - started < 1


def test_items_in_a_box_of_their_own_are_found() -> None:
    block = struct.pack(">I", 6) + b"Exif\0\0" + exif(SOME)[6:]
    infe = struct.pack(">I4sIHH4s", 20, b"infe", 2 << 24, 7, 0, b"Exif")
    iinf = struct.pack(">I4sIH", 14 + len(infe), b"iinf", 0, 1) + infe
    places = struct.pack(">HHHHII", 7, 1, 0, 1, 0, len(block))
    iloc = struct.pack(">I4sIBBH", 16 + len(places), b"iloc", 1 << 24, 0x44, 0, 1) + places
    idat = struct.pack(">I4s", 8 + len(block), b"idat") + block
    meta = struct.pack(">I4sI", 12 + len(iinf + iloc + idat), b"meta", 0) + iinf + iloc + idat
    assert exif_date(exif_item(struct.pack(">I4s4sI", 16, b"ftyp", b"heic", 0) + meta)) == TAKEN
