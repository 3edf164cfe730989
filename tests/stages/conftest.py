"""A table of photos, some of them bad, as the read stage makes it."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from PIL import Image

from pipeline.datasets.photos.shard_reading import PHOTO_SCHEMA


def jpeg(red: int, size: tuple[int, int] = (64, 48)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (red, 100, 50)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture
def photos() -> pa.Table:
    data = [jpeg(255), b"", jpeg(0), None, jpeg(128, (30, 60)), b"text"]
    errors = [None, None, None, "file not found", None, None]
    ids = [f"{number}.jpg" for number in range(6)]
    state = [[1] * 6, [0] * 6, ["d"] * 6]
    return pa.table([ids, [f"/p/{name}" for name in ids], data, errors, *state], schema=PHOTO_SCHEMA)
