"""Decoding every supported kind of photo, and files that are damaged in every way."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pipeline.errors import QpertError
from pipeline.io.images import MAX_PIXELS, ImageError, decode, is_truncated
from tests.io.images import samples_of

ORIENTATION = 0x0112


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width: int = 96, height: int = 64, channels: int = 3, seed: int = 0) -> Image.Image:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def halves(mode: str = "RGB") -> Image.Image:
    """60x40: red on the left half, blue on the right."""
    image = Image.new("RGB", (60, 40), (255, 0, 0))
    image.paste((0, 0, 255), (30, 0, 60, 40))
    return image.convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG that states its size and has almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def near(pixel: object, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.abs(np.subtract(pixel, colour)).max() <= tolerance)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_keep_every_pixel(form: str) -> None:
    image = noise()
    decoded = decode(encoded(image, form))
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image))


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_keep_colours_and_places(form: str) -> None:
    decoded = decode(encoded(halves(), form))
    assert decoded.size == (60, 40)
    assert near(decoded.getpixel((10, 20)), (255, 0, 0))
    assert near(decoded.getpixel((50, 20)), (0, 0, 255))


def test_greyscale_one_bit_and_one_pixel() -> None:
    grey = noise(channels=1)
    np.testing.assert_array_equal(np.asarray(decode(encoded(grey, "PNG")))[..., 1], np.asarray(grey))
    assert decode(encoded(Image.new("1", (9, 7), 1), "PNG")).getpixel((8, 6)) == (255, 255, 255)
    assert decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).getpixel((0, 0)) == (1, 2, 3)


def test_cmyk_jpeg_has_the_right_colours() -> None:
    decoded = decode(encoded(halves("CMYK"), "JPEG", quality=95))
    assert near(decoded.getpixel((10, 20)), (255, 0, 0))
    assert near(decoded.getpixel((50, 20)), (0, 0, 255))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_is_scaled_not_clipped(form: str) -> None:
    values = np.array([[0, 256, 257, 32768], [40000, 65000, 65278, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode(encoded(Image.fromarray(values), form)))[..., 0]
    np.testing.assert_array_equal(decoded, np.rint(values / 257).astype(np.uint8))


def test_16_bit_ppm_and_float_tiff_are_scaled() -> None:
    assert decode(b"P5 2 1 65535\n" + struct.pack(">HH", 0, 32896)).getpixel((1, 0)) == (128, 128, 128)
    unit = Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan, -3.0]], dtype=np.float32))
    assert np.asarray(decode(encoded(unit, "TIFF")))[0, :, 0].tolist() == [0, 128, 255, 0, 0]
    wide = Image.fromarray(np.array([[0, 2**31 - 1]], dtype=np.int32))
    assert np.asarray(decode(encoded(wide, "TIFF")))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_animations_give_their_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((0, 255, 0), (255, 0, 0), (0, 0, 255))]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
    assert near(decode(data).getpixel((10, 5)), (0, 255, 0))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_rgba_is_flattened_on_white_and_rotated(form: str) -> None:
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 10, 20))
    image.paste((0, 0, 0, 128), (30, 0, 40, 20))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = decode(encoded(image, form, exif=exif, **options))
    assert decoded.size == (20, 40)
    assert decoded.getpixel((10, 4)) == (255, 0, 0)
    assert decoded.getpixel((10, 20)) == (255, 255, 255)
    assert near(decoded.getpixel((10, 36)), (127, 127, 127), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_match_the_standard(orientation: int) -> None:
    """In EXIF, orientation N states where row 0 and column 0 of the stored picture belong."""
    stored = noise(6, 4)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    array = np.asarray(stored)
    upright = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: array[::-1].transpose(1, 0, 2),
        7: array[::-1, ::-1].transpose(1, 0, 2),
        8: array.transpose(1, 0, 2)[::-1],
    }[orientation]
    np.testing.assert_array_equal(np.asarray(decode(encoded(stored, "PNG", exif=exif))), upright)


def test_orientation_is_not_applied_twice() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    decoded = decode(encoded(noise(), "JPEG", exif=exif))
    assert decoded.info == {}
    assert decoded.getexif().get(ORIENTATION) is None


def test_a_damaged_exif_block_does_not_lose_the_photo() -> None:
    data = encoded(halves(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fjunk")
    assert decode(data).size == (60, 40)


def test_palette_transparency_becomes_white() -> None:
    image = halves().convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    blue = image.getpixel((50, 20))
    for form in ("PNG", "GIF"):
        decoded = decode(encoded(image, form, transparency=blue))
        assert near(decoded.getpixel((10, 20)), (255, 0, 0))
        assert decoded.getpixel((50, 20)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is a shopping list, not a photo\n" * 9, "not an image"),
        (b"\0" * 500, "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + b"\0" * 40, "damaged image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (png_header(20000, 20000), "image too large: 20000x20000 pixels, limit 100000000"),
        (png_header(2**31 - 1, 2**31 - 1), "image too large: 2147483647x2147483647 pixels, limit 100000000"),
        (png_header(0, 10), "damaged image"),
        (b"\xff\xd8\xff\xe0", "damaged image"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert str(caught.value) == reason
    assert isinstance(caught.value, QpertError)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_half_a_file_is_truncated(form: str) -> None:
    data = encoded(noise(), form)
    with pytest.raises(ImageError, match=r"^truncated image$"):
        decode(data[: len(data) // 2])


def test_size_is_checked_from_the_header_without_pillows_limit() -> None:
    limit, truncated = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="image too large: 9600x9600 pixels, limit 90000000"):
            decode(png_header(9600, 9600), max_pixels=90_000_000)
        with pytest.raises(ImageError, match=r"image too large: 96x64 pixels, limit 6143$"):
            decode(encoded(noise(), "JPEG"), max_pixels=96 * 64 - 1)
        assert decode(encoded(noise(), "JPEG"), max_pixels=96 * 64).size == (96, 64)
        # Between the size of Pillow's warning (89 million) and MAX_PIXELS: decoded without a warning.
        large = decode(encoded(Image.new("1", (9900, 9900)), "PNG"))
    assert large.size == (9900, 9900)
    assert MAX_PIXELS > 9900**2
    assert (limit, truncated) == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_reasons_name_no_path_or_address() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    data[60:90] = b"\xff" * 30
    with pytest.raises(ImageError) as caught:
        decode(bytes(data))
    assert str(caught.value) in {"damaged image", "truncated image"}


SEEDS = [
    *(encoded(noise(), form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")),
    *(encoded(noise(), "TIFF", compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
    *(encoded(noise(), "JPEG", progressive=True), encoded(noise(), "WEBP", lossless=True)),
    *(samples_of.encoded(form, noise()) for form in ("HEIF", "JXL")),
    b"P3 4 4 255 " + b"12 " * 48,
]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    st.booleans(),
    st.data(),
)
def test_hostile_bytes_give_an_image_or_an_image_error(
    seed: bytes, changes: list[tuple[int, int]], allow_truncated: bool, draw: st.DataObject
) -> None:
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    cut = draw.draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    with contextlib.suppress(ImageError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = decode(bytes(data[:cut]), max_pixels=200_000, allow_truncated=allow_truncated)
        assert image.mode == "RGB"
        assert image.width * image.height <= 200_000
        assert allow_truncated or not is_truncated(image)
