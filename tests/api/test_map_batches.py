"""`Detect` and `Encode`: checked where they are written, and the same features as those of an index."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from pipeline import Detect, Encode, Perturbation
from pipeline.detectors import DetectorConfig
from pipeline.errors import QpertError
from pipeline.features.schema import features_schema
from pipeline.stages.detect import DETECTED
from tests.encoders.open_clip import plain_clip

ADDED = {"image_id", "error", *DETECTED, "largest_area", "embedding", "device", "dtype", "truncated", "taken"}


@pytest.fixture
def photos() -> pa.Table:
    """Three photos, of which the redder ones have a box, and bytes that are none."""
    data = []
    for red in (255, 0, 128):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), (red, 40, 200)).save(buffer, "PNG")
        data.append(buffer.getvalue())
    return pa.table({"bytes": [*data, b"text"], "caption": list("abcd")})


def test_bytes_become_rows_with_the_columns_of_a_feature_set(
    photos: pa.Table, tiny_detector: Any, tiny_encoder: Any
) -> None:
    detected = Detect(tiny_detector, batch_size=2)()(photos)
    plain = Encode(tiny_encoder, perturbation=None, precision="float32")()(detected)
    perturbed = Encode(tiny_encoder, perturbation=Perturbation.paper(2), precision="float32")()(detected)
    assert set(plain.column_names) == {"bytes", "caption", *ADDED}
    schema = features_schema("float32")
    assert all(plain.schema.field(name).type == schema.field(name).type for name in ADDED)
    assert plain["error"].to_pylist() == [None, None, None, "not an image"]
    boxed = [bool(objects) for objects in plain["objects"].to_pylist()]
    assert boxed == [True, False, True, False]
    same = [a == b for a, b in zip(plain["embedding"].to_pylist(), perturbed["embedding"].to_pylist(), strict=True)]
    assert same == [not has_objects for has_objects in boxed]
    assert plain["caption"].to_pylist() == list("abcd")


def test_object_embeddings_are_added_when_wanted(photos: pa.Table, tiny_detector: Any, tiny_encoder: Any) -> None:
    detected = Detect(tiny_detector)()(photos)
    table = Encode(tiny_encoder, with_objects=True)()(detected)
    assert table.schema.field("object_embeddings").type == pa.list_(pa.float16())


def test_mistakes_show_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="unknown encoder 'cocoa'"):
        Encode("cocoa")
    with pytest.raises(QpertError, match="preset"):
        Encode("coca", perturbation="papers")
    with pytest.raises(QpertError, match=r"nowhere\.pt"):
        Detect(str(tmp_path / "nowhere.pt"))
    with pytest.raises(QpertError, match="annotations"):
        Detect(DetectorConfig(model="annotated"))


def test_encoders_without_a_cross_attention_are_plain_and_say_so(
    tmp_path: Path, photos: pa.Table, tiny_detector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    weights = plain_clip.write(tmp_path / "clip")
    detected = Detect(tiny_detector)()(photos)
    perturbed = Encode("open_clip", weights=weights)()(detected)
    assert "no cross-attention for objects to act on: its embeddings are plain" in caplog.text
    plain = Encode("open_clip", weights=weights, perturbation=None)()(detected)
    assert perturbed.column("embedding").equals(plain.column("embedding"))
    assert perturbed.column("embedding").null_count == 1
    with pytest.raises(QpertError, match="its objects have no embeddings"):
        Encode("open_clip", weights=weights, perturbation=None, with_objects=True)


def test_ray_shows_them_by_their_names() -> None:
    assert [stage.__name__ for stage in (Detect("none"), Encode())] == ["Detect", "Encode"]
