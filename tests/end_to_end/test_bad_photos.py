"""A folder as people have them: every photo that can be read is indexed, and every other one says why not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import index
from jobs.cli import main
from pipeline.features.feature_set import FeatureSet


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def bomb(side: int = 20_000) -> bytes:
    """A PNG of side x side black pixels, a few hundred kilobytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> Path:
    source = tmp_path / "photos"
    make_photos(source, 6)
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: a viewer turns it by 90 degrees
    turned = photo.convert("RGBA")
    frames = [photo.convert("P"), photo.rotate(180).convert("P")]
    files = {
        "truncated.jpg": encoded(photo, "JPEG")[:700],
        "empty.jpg": b"",
        "text.jpg": b"this is not a photo\n",
        "bomb.png": bomb(),
        "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG"),
        "deep.png": encoded(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27), "PNG"),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "turned.png": encoded(turned, "PNG", exif=exif),
        "dot.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
    }
    for name, data in files.items():
        (source / name).write_bytes(data)
    return source


@pytest.mark.usefixtures("ray_cpu")
def test_every_photo_that_can_be_read_is_indexed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["index", str(folder), "--out", out]) == 0
    printed = capsys.readouterr()
    assert "4 photos could not be indexed" in printed.err
    assert "1 x empty file" in printed.out

    features = FeatureSet.open(out)
    assert features.failures == {
        "truncated.jpg": "truncated image",
        "empty.jpg": "empty file",
        "text.jpg": "not an image",
        "bomb.png": "image too large: 20000x20000 pixels, limit 100000000",
    }
    good = {"animated.gif", "cmyk.jpg", "deep.png", "dot.png", "turned.png"}
    assert {name for name in features.ids if "/" not in name} == good
    assert len(features) == 6 + len(good)
    (block,) = features.iter_blocks()
    rows = {row["image_id"]: row for row in block.to_pylist()}
    assert (rows["turned.png"]["width"], rows["turned.png"]["height"]) == (40, 60)
    assert (rows["dot.png"]["width"], rows["dot.png"]["height"]) == (1, 1)
    vectors = features.embeddings(block).astype(np.float32)
    assert np.linalg.norm(vectors, axis=-1) == pytest.approx(np.ones(vectors.shape[:2]), abs=2e-3)

    assert main(["index", str(folder), "--out", out]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert index.run(index.Config(source=str(folder), out=out, strict=True)) == 1
