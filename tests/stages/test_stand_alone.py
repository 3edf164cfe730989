"""Stages in somebody's own pipeline: one model per actor, the actor's own device, and tables of bytes or URIs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import ray

from pipeline.datasets.photos.rules import DEFAULT_RULES
from pipeline.errors import QpertError
from pipeline.io.photo_state import digest_of
from pipeline.stages import stand_alone as module
from pipeline.stages.detect import DETECTED, DetectStage
from pipeline.stages.stand_alone import as_assigned, stand_alone
from pipeline.workers.worker import Worker


def counted(build: Any, folder: str, device: str) -> Any:
    """Builds a detector and leaves a file for it, which the actor must not have left before."""
    import ray

    (Path(folder) / ray.get_runtime_context().get_actor_id()).touch(exist_ok=False)
    return build(device)


def test_ids_are_added_where_there_are_none(photos: pa.Table, tiny_detector: Any) -> None:
    stage = stand_alone(DetectStage, "Detect", Worker(), DEFAULT_RULES, tiny_detector)()
    data = photos["data"]
    table = stage(pa.table({"bytes": data}))
    assert table.column_names == ["bytes", "image_id", "error", *DETECTED]
    assert table["image_id"][0].as_py() == digest_of(data[0].as_py())
    assert stage(pa.table({"bytes": data, "uri": list("abcdef")}))["image_id"].to_pylist() == list("abcdef")
    assert stage(pa.table({"bytes": data, "image_id": list("abcdef")}))["image_id"].to_pylist() == list("abcdef")


def test_photos_are_read_where_a_table_only_names_them(photos: pa.Table, tiny_detector: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(photos["data"][0].as_py())
    stage = stand_alone(DetectStage, "Detect", Worker(), DEFAULT_RULES, tiny_detector)()
    table = stage(pa.table({"uri": [str(tmp_path / "a.jpg"), "http://127.0.0.1/x"]}))
    assert table["bytes"][0].as_py() == photos["data"][0].as_py()
    assert table["error"].to_pylist() == [None, "scheme not allowed: http (--allow-scheme http)"]


def test_other_batches_and_tables_without_photos_are_errors(tiny_detector: Any) -> None:
    stage = stand_alone(DetectStage, "Detect", Worker(), DEFAULT_RULES, tiny_detector)()
    with pytest.raises(QpertError, match='batch_format="pyarrow"'):
        stage({"bytes": [b""]})
    with pytest.raises(QpertError, match="needs a column 'bytes'"):
        stage(pa.table({"text": ["a"]}))


@pytest.mark.parametrize(
    ("assigned", "gpu", "share", "decoders"),
    [({}, False, 1.0, 0), ({"GPU": 0.25}, True, 0.25, 1), ({"GPU": 2.0, "CPU": 3.0}, True, 1.0, 3)],
)
def test_an_actor_uses_what_ray_assigned_to_it(
    monkeypatch: pytest.MonkeyPatch, assigned: dict[str, float], gpu: bool, share: float, decoders: int
) -> None:
    context = SimpleNamespace(get_actor_id=lambda: "a", get_assigned_resources=lambda: assigned)
    fake = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setattr(module, "ray", fake)
    worker = as_assigned(Worker())
    assert (worker.gpu, worker.share, worker.decoders) == (gpu, share, decoders)


@pytest.mark.usefixtures("ray_cpu")
def test_each_actor_loads_one_model(photos: pa.Table, tiny_detector: Any, tmp_path: Path) -> None:
    assert as_assigned(Worker()) == Worker()  # here, in the driver
    build = partial(counted, tiny_detector, str(tmp_path))
    detect = stand_alone(DetectStage, "Detect", Worker(), DEFAULT_RULES, build)
    blocks = ray.data.from_arrow([pa.table({"bytes": photos["data"]})] * 8)
    pool = ray.data.ActorPoolStrategy(size=2)
    dataset = blocks.map_batches(detect, batch_format="pyarrow", batch_size=2, compute=pool)
    assert len(dataset.take_all()) == 48
    # On a busy machine, one actor may have seen to all of the 24 batches before the other has started.
    assert len(list(tmp_path.iterdir())) in (1, 2)
