"""Recognising formats by suffix and by first bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.io.images import SUFFIXES, UNDECODABLE, ImageError, decode
from tests.io.images.samples_of import difference, encoded, picture


def test_suffixes_are_those_of_the_decoders() -> None:
    wanted = (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm"),
    )
    assert set(wanted) <= set(SUFFIXES)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in (*SUFFIXES, *UNDECODABLE))
    assert not set(SUFFIXES) & set(UNDECODABLE)
    assert not {".eps", ".ps", ".pdf", ".wmf", ".mpg", ".fits", ".h5", ".svg"} & set(SUFFIXES)
    assert {".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".svg", ".psd", ".xcf"} <= set(UNDECODABLE)
    assert len(set(SUFFIXES)) == len(SUFFIXES)


def test_decoding_registers_nothing_for_the_whole_process() -> None:
    code = (
        "import pipeline.io.images, sys; from PIL import Image; Image.init();"
        "sys.exit('HEIF' in Image.OPEN or 'JXL' in Image.OPEN or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_heic_and_avif_are_decoded() -> None:
    for form in ("HEIF", "AVIF"):
        assert difference(decode(encoded(form, quality=90)), picture()) < 20
    rgba = picture().convert("RGBA")
    rgba.putalpha(0)
    assert decode(encoded("HEIF", rgba)).getpixel((5, 5)) == (255, 255, 255)


def test_avif_under_a_general_brand_is_decoded() -> None:
    data = encoded("AVIF", quality=90)
    assert data[8:12] == b"avif"
    assert difference(decode(data.replace(b"avif", b"mif1", 1)), decode(data)) == 0


def test_jpeg_xl_is_decoded() -> None:
    pytest.importorskip("pillow_jxl")
    for boxed in (False, True):
        assert difference(decode(encoded("JXL", boxed=boxed)), picture()) == 0
    jpeg = encoded("JPEG")
    assert difference(decode(encoded("JXL", jpeg=jpeg)), decode(jpeg)) == 0
    grey = Image.fromarray(np.arange(0, 65536, 8, dtype=np.uint16).reshape(64, 128))
    assert decode(encoded("JXL", grey)).getpixel((127, 63)) == (255, 255, 255)


def test_jpeg_xl_without_its_plugin_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded("JXL")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"^unsupported format: JPEG XL \(needs qpert\[jxl\]\)$"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "damaged image"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf" + bytes(200), "damaged image"),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heic" + bytes(200), "damaged image"),
        (b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc" + bytes(200), "damaged image"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(200), "damaged image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200), "damaged image"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(200), "unsupported format: camera raw"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(200), "unsupported format: camera raw"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200), "not an image"),
        (b"8BPS\0\1" + bytes(200), "unsupported format: Photoshop"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported format: SVG"),
        (b"<html>403</html>", "not an image"),
        (b"P7\nWIDTH 1\n", "not an image"),
        (b"%PDF-1.4", "not an image"),
        (b"GIF89a", "damaged image"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (b"P1\n# a\n3 1\n101\n", [0, 255, 0]),
        (b"P1 3 1 1 0 1", [0, 255, 0]),
        (b"P2\n3 1 # b\n10\n0 5 # c\n10\n", [0, 128, 255]),
        (b"P3 1 1 255 1 2 3\n", [1]),
        (b"P4 3 1\n\xa0", [0, 255, 0]),
        (b"P5 3 1 255\n\x00\x80\xff", [0, 128, 255]),
        (b"P6 1 1 65535\n\x80\x80\xff\xff\x00\x00", [128]),
        (b"Pf\n2 1\n-1.0\n" + np.array([0, 1], "<f4").tobytes(), [0, 255]),
    ],
)
def test_netpbm(data: bytes, pixels: list[int]) -> None:
    assert np.asarray(decode(data))[0, :, 0].tolist() == pixels
    text = data[1:2] in b"123"
    with pytest.raises(ImageError, match="truncated image"):
        decode(data.rstrip(b"\n")[:-2] if text else data[:-1])
