"""What all stages share: how they load, report, and work on anybody's tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
import torch
from PIL import Image

from pipeline.encoders import load_encoder
from pipeline.errors import QpertError
from pipeline.features.schema import features_schema
from pipeline.io.photo_state import digest_of
from pipeline.method import eigen
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.runs.progress import progress_line
from pipeline.runs.run_stats import RunStats
from pipeline.stages.detect import DETECTED, DetectStage
from pipeline.stages.encode import EncodeStage
from pipeline.stages.match import MatchStage
from pipeline.stages.photo_stage import PhotoColumns
from pipeline.workers.reporting import BatchDone, Event, Reporter
from pipeline.workers.worker import Worker

ADDED = (
    *("width", "height", "objects", "largest_area", "embedding", "error", "device", "dtype", "seconds", "truncated"),
    "taken",
)
"""The columns of a feature set that encoding makes."""


class LocalReporter(Reporter):
    """Keeps events, and what they add up to, in this process."""

    def __init__(self) -> None:
        super().__init__()
        self.events, self.stats = list[Event](), RunStats(actors=1)

    def send(self, event: Event) -> None:
        self.events.append(event)
        self.stats.record(event)


def encode(tiny_encoder: Any, photos: PhotoColumns, **options: Any) -> EncodeStage:
    return EncodeStage(tiny_encoder, [None], False, "float16", Worker(), Reporter(), photos=photos, **options)


@pytest.mark.parametrize("stage", ["detect", "encode", "match"])
def test_a_stage_reports_that_it_loads_and_that_it_is_up(stage: str, tiny_detector: Any, tiny_encoder: Any) -> None:
    reporter, worker = LocalReporter(), Worker(micro_batch=2)
    lines = [progress_line(reporter.stats, 10)]

    def build(*device: str, **options: str) -> Any:
        lines.append(progress_line(reporter.stats, 10))
        model = tiny_detector(*device) if stage == "detect" else tiny_encoder(**options)
        if stage == "match":
            model.match = lambda tokens, texts, objects, perturbation: torch.zeros(len(texts))
        return model

    if stage == "detect":
        DetectStage(build, worker, reporter)
    elif stage == "encode":
        EncodeStage(build, [None], False, "float16", worker, reporter)
    else:
        MatchStage(build, ["a text"], None, worker, reporter)
    lines.append(progress_line(reporter.stats, 10))
    assert lines == ["starting workers ...", "loading models ...", "first photos ..."]


def test_the_last_stage_reports_all_photos_with_failures_and_objects(
    photos: pa.Table, tiny_detector: Any, tiny_encoder: Any
) -> None:
    reporter, worker = LocalReporter(), Worker()
    detected = DetectStage(tiny_detector, worker, reporter)(photos)
    EncodeStage(tiny_encoder, [None], False, "float16", worker, reporter)(detected)
    first, last = (event for event in reporter.events if isinstance(event, BatchDone))
    assert (first.stage, first.photos, first.objects, first.failures, first.last) == ("detect", 5, 0, {}, False)
    assert (last.stage, last.photos, last.objects, last.last) == ("encode", 6, 2, True)
    assert last.failures == {"empty file": 1, "file not found": 1, "not an image": 1}


def test_a_solver_that_is_wrong_on_purpose_is_reported_and_changes_no_feature(
    photos: pa.Table, tiny_detector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = DetectStage(tiny_detector, Worker(), Reporter())(photos)

    def features() -> tuple[list[Any], LocalReporter]:
        reporter = LocalReporter()
        build = partial(load_encoder, "coca")
        stage = EncodeStage(build, [Perturbation.paper()], False, "float32", Worker(micro_batch=8, threads=1), reporter)
        return stage(found)["embedding"].to_pylist(), reporter

    want, reporter = features()
    assert reporter.stats.decompositions == {}
    right, calls = torch.linalg.eigh, itertools.count()

    def every_second_wrong(matrices: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        sigma, vectors = right(matrices, **options)
        return sigma, vectors if next(calls) % 2 else vectors.roll(1, -1)

    monkeypatch.setattr(eigen, "_TRUSTED", ())
    monkeypatch.setattr(torch.linalg, "eigh", every_second_wrong)  # the device's, then the CPU's
    got, reporter = features()
    ((checked, repeated),) = reporter.stats.decompositions.values()
    assert checked == repeated > 0
    for one, other in zip(got, want, strict=True):
        assert (one is None) == (other is None)
        assert one is None or one == pytest.approx(other, abs=1e-5)


def test_columns_may_have_other_names_and_ids_may_be_missing(
    photos: pa.Table, tiny_detector: Any, tiny_encoder: Any
) -> None:
    names = PhotoColumns(data="bytes", image_id="key")
    table = pa.table({"bytes": photos["data"], "caption": ["a"] * 6})
    detected = DetectStage(tiny_detector, Worker(), Reporter(), names)(table)
    assert detected.column_names == ["bytes", "caption", "error", *DETECTED]
    encoded = encode(tiny_encoder, names, keep_columns=True)(detected)
    assert set(encoded.column_names) == {"bytes", "caption", *ADDED}
    assert encoded["error"].to_pylist() == [
        *(None, "empty file", None, "no bytes in this row", None, "not an image"),
    ]
    want = encode(tiny_encoder, PhotoColumns())(DetectStage(tiny_detector, Worker(), Reporter())(photos))
    assert encoded["embedding"].equals(want["embedding"])
    assert encoded["objects"].equals(want["objects"])
    schema = features_schema()
    assert all(encoded.schema.field(name).type == schema.field(name).type for name in ADDED)


def test_ids_are_text_whatever_the_column(photos: pa.Table) -> None:
    seen: list[str] = []

    class Watching:
        def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
            seen.extend(ids)
            return [Objects.empty(image.size) for image in images]

    stage = DetectStage(lambda device: Watching(), Worker(), Reporter())
    data = pa.array([photos["data"][0].as_py()] * 2, pa.binary())
    seen.clear()
    for columns in ({"image_id": [0, 1]}, {"uri": ["a", "b"]}, {}):
        stage(pa.table({"data": data, **columns}))
    assert seen[:4] == ["0", "1", "a", "b"]
    assert seen[4] == seen[5] == digest_of(data[0].as_py())


def test_photos_are_read_where_a_table_only_names_them(photos: pa.Table, tiny_encoder: Any, tmp_path: Path) -> None:
    data = photos["data"].to_pylist()
    for number in (0, 2, 5):
        (tmp_path / f"{number}.jpg").write_bytes(data[number])
    uris = [str(tmp_path / f"{number}.jpg") for number in (0, 2, 3, 5)]
    stage = encode(tiny_encoder, PhotoColumns(uri="path"), keep_columns=True)
    table = stage(pa.table({"path": [*uris, "http://127.0.0.1/x"], "error": [None, "not wanted", None, None, None]}))
    errors = table["error"].to_pylist()
    assert errors[:2] == [None, "not wanted"]
    assert errors[2].startswith("file not found")
    assert errors[3:] == ["not an image", "scheme not allowed: http (--allow-scheme http)"]
    assert [vector is None for vector in table["embedding"].to_pylist()] == [False, True, True, True, True]


@pytest.mark.usefixtures("ray_cpu")
def test_stages_work_in_a_ray_data_pipeline_of_ones_own(
    photos: pa.Table, tiny_detector: Any, tiny_encoder: Any
) -> None:
    names = PhotoColumns(data="bytes", image_id="key")
    table = pa.table({"key": range(6), "bytes": photos["data"], "caption": list("abcdef")})
    options: dict[str, Any] = {
        "batch_format": "pyarrow",
        "batch_size": 4,
        "compute": ray.data.ActorPoolStrategy(size=1),
    }
    dataset = ray.data.from_arrow(table)
    dataset = dataset.map_batches(
        DetectStage, fn_constructor_args=(tiny_detector, Worker(), Reporter(), names), **options
    )
    dataset = dataset.map_batches(
        EncodeStage,
        fn_constructor_args=(tiny_encoder, [None], False, "float16", Worker(), Reporter()),
        fn_constructor_kwargs={"photos": names, "keep_columns": True},
        **options,
    )
    rows = sorted(dataset.take_all(), key=lambda row: int(row["key"]))
    assert [row["caption"] for row in rows] == list("abcdef")
    assert [row["error"] for row in rows] == [None, "empty file", None, "no bytes in this row", None, "not an image"]
    assert [row["embedding"] is None for row in rows] == [row["error"] is not None for row in rows]
    assert [row["width"] for row in rows] == [64, None, 64, None, 30, None]


def test_a_table_without_photos_is_an_error(tiny_encoder: Any) -> None:
    with pytest.raises(QpertError, match=r"needs a column 'bytes' .* or 'uri'; this one has: text"):
        encode(tiny_encoder, PhotoColumns(data="bytes"))(pa.table({"text": ["a"]}))
