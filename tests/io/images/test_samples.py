"""Samples of every depth are scaled by the range in which they were written."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.io.images import decode
from pipeline.io.images.samples import to_8_bit
from tests.io.images.samples_of import difference, encoded, picture, png, rows

GREY = np.asarray(picture().convert("L"))
UNKNOWN = 7
"""If no usual depth holds the samples, white is the brightest of them; here that is 240."""


@pytest.mark.parametrize(
    ("samples", "tolerance"),
    [
        pytest.param(GREY.astype(np.uint16), 0, id="8 bits in 16"),
        pytest.param(GREY.astype(np.uint16) * 4, 1, id="10 bits in 16"),
        pytest.param(GREY.astype(np.uint16) * 16, 1, id="12 bits in 16"),
        pytest.param(GREY.astype(np.uint16) * 257, 0, id="16 bits"),
        pytest.param(GREY.astype(np.int32), 0, id="8 bits in 32"),
        pytest.param(GREY.astype(np.int32) * 257, 0, id="16 bits in 32"),
        pytest.param(GREY.astype(np.int32) * 8_000_000, UNKNOWN, id="32 bits"),
        pytest.param(GREY.astype(np.int32) - 1000, 6, id="signed"),
        pytest.param(np.where(np.arange(95) < 2, -9999, GREY.astype(np.int32)), 5, id="no data as -9999"),
        pytest.param(GREY.astype(np.float32), 0, id="floats to 255"),
        pytest.param((GREY / 255).astype(np.float32), 0.5, id="floats to 1"),
        pytest.param((GREY / 127.5 - 1).astype(np.float32), 6, id="floats from -1 to 1"),
        pytest.param((GREY / 200).astype(np.float32), UNKNOWN, id="floats beyond 1"),
        pytest.param((GREY * 1e6).astype(np.float32), UNKNOWN, id="large floats"),
        pytest.param(np.where(np.arange(95) < 2, 3.4e38, GREY / 255).astype(np.float32), 5, id="no data as 3e38"),
    ],
)
def test_no_range_of_values_turns_black(samples: np.ndarray, tolerance: float) -> None:  # type: ignore[type-arg]
    decoded = decode(encoded("TIFF", Image.fromarray(samples)))
    assert difference(decoded, Image.fromarray(GREY)) <= tolerance


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_constant_pictures(kind: type) -> None:
    for value, grey in ((0, 0), (200, 200)):
        decoded = decode(encoded("TIFF", Image.fromarray(np.full((4, 6), value, kind))))
        assert np.asarray(decoded).tolist() == np.full((4, 6, 3), grey).tolist()
    assert decode(encoded("TIFF", Image.fromarray(np.full((4, 6), 0.5, np.float32)))).getpixel((0, 0)) == (128,) * 3


def test_8_bit_values_in_a_16_bit_png() -> None:
    assert difference(decode(encoded("PNG", Image.fromarray(GREY.astype(np.uint16)))), Image.fromarray(GREY)) == 0
    colours = np.asarray(picture())
    for scale in (1, 257):
        data = png(95, 63, rows((colours.astype(np.uint16) * scale).astype(">u2")), depth=16)
        assert difference(decode(data), picture()) == 0


def test_the_white_value_of_the_file_is_white() -> None:
    assert to_8_bit(np.array([0, 100, 1000], np.uint16), 1000).tolist() == [0, 26, 255]
    assert to_8_bit(np.array([0, 5000], np.uint16), 1000).tolist() == [0, 255]
    assert decode(b"P5 2 1 1000\n\x00\x00\x03\xe8").getpixel((1, 0)) == (255, 255, 255)


def test_few_negative_samples_are_black_and_many_extend_the_range() -> None:
    assert to_8_bit(np.array([-3, 0, 255, 255, 255], np.int32)).tolist() == [0, 0, 255, 255, 255]
    assert to_8_bit(np.array([-255, -255, -155, 0], np.int32)).tolist() == [0, 0, 100, 255]
    assert to_8_bit(np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)).tolist() == [0, 0, 0, 255]
