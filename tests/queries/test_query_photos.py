"""Opening a photo to look for: upright, and cut to whole pixels of its box."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from pipeline.datasets.photos.rules import DEFAULT_RULES
from pipeline.queries.query import Box
from pipeline.queries.query_photos import opened_photo


def turned() -> bytes:
    """A photo whose EXIF data say that it lies on its side: 20 x 10 when upright, its left half white."""
    upright = Image.new("L", (20, 10))
    upright.paste(255, (0, 0, 10, 10))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("box", "size", "colours"),
    [
        (None, (20, 10), {0, 255}),
        ((0.0, 0.0, 0.5, 1.0), (10, 10), {255}),
        ((0.5, 0.0, 1.0, 0.5), (10, 5), {0}),
        ((0.26, 0.0, 0.27, 0.01), (1, 1), {255}),
        ((0.99, 0.99, 1.0, 1.0), (1, 1), {0}),
    ],
)
def test_boxes_are_cut_from_the_upright_photo(box: Box | None, size: tuple[int, int], colours: set[int]) -> None:
    image = opened_photo(turned(), box, DEFAULT_RULES, "x")
    assert image.size == size
    assert set(image.convert("L").tobytes()) == colours
