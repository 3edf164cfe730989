"""The encode stage, after detection, called as Ray Data calls it but without Ray."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.errors import QpertError
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from pipeline.features.tokens import TOKENS
from pipeline.method.settings import Perturbation
from pipeline.stages.detect import DetectStage
from pipeline.stages.encode import EncodeStage
from pipeline.workers.reporting import Reporter
from pipeline.workers.worker import Worker


def detect(tiny_detector: Any, **options: Any) -> DetectStage:
    return DetectStage(tiny_detector, Worker(micro_batch=2, **options), Reporter())


def encode(tiny_encoder: Any, perturbation: Perturbation | None = None, **options: Any) -> EncodeStage:
    precision = options.pop("precision", "float16")
    return EncodeStage(tiny_encoder, [perturbation], False, precision, Worker(micro_batch=2, **options), Reporter())


@pytest.mark.parametrize("decoders", [0, 2])
def test_rows_of_a_feature_set(photos: pa.Table, tiny_detector: Any, tiny_encoder: Any, decoders: int) -> None:
    found = detect(tiny_detector, decoders=decoders)(photos)
    table = encode(tiny_encoder, Perturbation.paper(), decoders=decoders)(found)
    assert table.schema == features_schema()
    rows = table.to_pylist()
    assert [row["image_id"] for row in rows] == [f"{at}.jpg" for at in range(6)]
    assert [row["embedding"] is None for row in rows] == [row["error"] is not None for row in rows]
    assert [row["device"] for row in rows] == ["cpu", None, "cpu", None, "cpu", None]
    assert (rows[4]["width"], rows[4]["height"]) == (30, 60)
    assert rows[0]["largest_area"] == pytest.approx(1, abs=0.02)
    assert rows[2]["largest_area"] is None
    vectors = np.array(rows[0]["embedding"]).reshape(2, 4)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-3)


def test_objects_reach_the_encoder_only_with_a_perturbation(
    photos: pa.Table, tiny_detector: Any, tiny_encoder: Any
) -> None:
    found = detect(tiny_detector)(photos)
    plain = encode(tiny_encoder)(photos).column("embedding").to_pylist()
    assert encode(tiny_encoder)(found).column("embedding").to_pylist() == plain
    perturbed = encode(tiny_encoder, Perturbation.paper())(found).column("embedding").to_pylist()
    assert perturbed[0] != plain[0]
    assert perturbed[2] == plain[2]


def test_without_detection_objects_are_unknown(photos: pa.Table, tiny_encoder: Any) -> None:
    table = encode(tiny_encoder, precision="float32")(photos)
    assert table.schema == features_schema("float32")
    assert table.column("objects").null_count == 6


def test_truncated_photos_are_refused_or_marked(photos: pa.Table, tiny_detector: Any, tiny_encoder: Any) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(stream, "JPEG")
    data = photos["data"].to_pylist()
    data[2] = stream.getvalue()[: len(stream.getvalue()) // 2]
    cut = photos.set_column(2, photos.schema.field("data"), pa.array(data, pa.large_binary()))
    refused = encode(tiny_encoder)(detect(tiny_detector)(cut))
    assert refused["error"].to_pylist()[2] == "truncated image"
    allowed = encode(tiny_encoder, allow_truncated=True)(detect(tiny_detector, allow_truncated=True)(cut))
    assert allowed["error"].to_pylist()[2] is None
    assert len(allowed["embedding"].to_pylist()[2]) == 8
    assert allowed["truncated"].to_pylist() == [False, None, True, None, False, None]


def test_the_date_of_a_photo_is_stored(photos: pa.Table, tiny_encoder: Any) -> None:
    exif, stream = Image.Exif(), io.BytesIO()
    exif.get_ifd(0x8769)[0x9003] = "2020:05:17 18:03:59"
    Image.new("RGB", (64, 48)).save(stream, "JPEG", exif=exif)
    data = photos["data"].to_pylist()
    data[2] = stream.getvalue()
    dated = photos.set_column(2, photos.schema.field("data"), pa.array(data, pa.large_binary()))
    taken = encode(tiny_encoder)(dated)["taken"]
    assert taken.to_pylist() == [None, None, datetime(2020, 5, 17, 18, 3, 59), None, None, None]


def test_features_do_not_depend_on_the_batch(photos: pa.Table, tiny_encoder: Any) -> None:
    stage = encode(tiny_encoder)
    whole = stage(photos).column("embedding").to_pylist()
    alone = [stage(photos.slice(at, 1)).column("embedding").to_pylist()[0] for at in range(6)]
    assert whole == alone


def test_an_embedding_that_is_not_finite_is_a_failure(photos: pa.Table, tiny_encoder: Any) -> None:
    def build(device: str, dtype: str) -> Any:
        encoder = tiny_encoder(device, dtype)
        inner = encoder.embed
        encoder.embed = lambda tokens, *rest: inner(tokens, *rest) / (tokens.flatten(1).amax(1)[:, None, None] < 0.9)
        return encoder

    rows = EncodeStage(build, [None], False, "float16", Worker(), Reporter())(photos).to_pylist()
    assert rows[0]["error"].startswith("encoder: ValueError: the embedding is not finite")
    assert rows[0]["embedding"] is None
    assert rows[2]["error"] is None


def test_a_model_that_does_not_work_is_found_at_the_start(tiny_encoder: Any) -> None:
    def build(device: str, dtype: str) -> Any:
        encoder = tiny_encoder(device, dtype)
        encoder.backbone = lambda pixels: pixels.nothing
        return encoder

    with pytest.raises(QpertError, match="encoder does not work here: AttributeError"):
        EncodeStage(build, [None], False, "float16", Worker(), Reporter())


def test_several_settings_and_object_embeddings_in_one_pass(
    photos: pa.Table, tiny_detector: Any, tiny_encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pooled(encoder: Any, tokens: Any, objects: Any) -> list[torch.Tensor]:
        return [torch.full((len(each), 2, 4), 0.5) for each in objects]

    monkeypatch.setattr("pipeline.stages.encode.object_embeddings", pooled)
    found = detect(tiny_detector)(photos)
    settings = [None, Perturbation.paper(), Perturbation.paper(scale=2)]
    worker = Worker(micro_batch=2)
    stage = EncodeStage(tiny_encoder, settings, True, "float16", worker, Reporter())
    calls = 0
    backbone = stage.encoder.backbone

    def counted(pixels: Any) -> Any:
        nonlocal calls
        calls += len(pixels)
        return backbone(pixels)

    stage.encoder.backbone = counted  # type: ignore[method-assign]
    table = stage(found)
    assert calls == 3
    assert table.schema == features_schema(with_objects=True)
    for number, setting in enumerate(settings):
        alone = encode(tiny_encoder, setting)(found)["embedding"].to_pylist()
        both = table["embedding"].to_pylist()
        assert [each and each[8 * number : 8 * number + 8] for each in both] == alone
    counts = [None if row is None else len(row) // 8 for row in table["object_embeddings"].to_pylist()]
    assert counts == [1, None, 0, None, 1, None]


def test_tokens_are_kept_call_by_call(photos: pa.Table, tiny_detector: Any, tiny_encoder: Any, tmp_path: Path) -> None:
    """In the model's own batches; failed photos are in none of them."""
    found = detect(tiny_detector)(photos)
    files = FeatureStore(str(tmp_path)).tokens
    stage = EncodeStage(tiny_encoder, [None], False, "float16", Worker(micro_batch=2), Reporter(), files)
    seen: list[torch.Tensor] = []
    backbone = stage.encoder.backbone

    def watched(pixels: Any) -> Any:
        seen.append(backbone(pixels))
        return seen[-1]

    stage.encoder.backbone = watched  # type: ignore[method-assign]
    table = stage(found)
    assert table.schema == features_schema().append(TOKENS)
    places = table["tokens"].to_pylist()
    assert [each is None for each in places] == [False, True, False, True, False, True]
    (name,) = {each["file"] for each in places if each}
    kept = files.read(name)
    assert [kept[call].shape[0] for call in kept] == [2, 1]  # in pairs, of the three photos that can be decoded
    assert all(torch.equal(kept[call], tokens) for call, tokens in enumerate(seen))
    assert [(each["call"], each["row"]) for each in places if each] == [(0, 0), (0, 1), (1, 0)]
    again = stage(found)["tokens"].to_pylist()
    assert again == places
    nothing = stage(found.filter([at in (1, 3) for at in range(6)]))
    assert nothing["tokens"].to_pylist() == [None, None]
    assert len(list((tmp_path / "tokens").iterdir())) == 1
