from __future__ import annotations

import sys

import pytest

from pipeline.diagnosis import photos
from pipeline.diagnosis.photos import check_formats


def test_every_format_is_decoded() -> None:
    pytest.importorskip("pillow_jxl")
    formats, jpeg_xl = check_formats()
    assert formats.text == "JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, JPEG2000, PPM, HEIF"
    assert (jpeg_xl.state, jpeg_xl.text, jpeg_xl.remedy) == ("ok", "can be decoded", "")


def test_a_format_that_fails_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "_HEIF", photos._HEIF[:40])
    formats, heif, _ = check_formats()
    assert "HEIF" not in formats.text
    assert (heif.name, heif.state) == ("HEIF", "problem")
    assert heif.text
    assert "pillow-heif" in heif.remedy


def test_jpeg_xl_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    *_, jpeg_xl = check_formats()
    assert (jpeg_xl.state, jpeg_xl.remedy) == ("ok", "pip install 'qpert[jxl]'")
    assert "needs qpert[jxl]" in jpeg_xl.text
