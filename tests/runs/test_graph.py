"""The whole graph in a Ray session of two CPUs, with tiny models."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

from pipeline.cluster.machines import Machines
from pipeline.cluster.pools import plan_pools
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.io.locations import join
from pipeline.method.settings import Perturbation
from pipeline.runs.graph import Graph
from pipeline.runs.index_graph import index_graph
from pipeline.runs.indexing import index_photos
from pipeline.runs.outcome import Outcome
from pipeline.workers.worker import Worker
from tests.payloads import Touch

pytestmark = pytest.mark.usefixtures("ray_cpu")


@pytest.fixture
def index(tmp_path: Path, tiny_encoder: Any, tiny_detector: Any) -> Callable[..., Outcome]:
    """Indexes a source into tmp_path/out with one actor per stage."""

    def run(source: Path | str, **options: Any) -> Outcome:
        chosen = {
            "make_encoder": tiny_encoder,
            "make_detector": tiny_detector,
            "settings": (Perturbation.paper(),),
            "block_rows": 8,
            "file_rows": 16,
            "store": FeatureStore(str(tmp_path / "out")),
        } | options

        def make_graph(machines: Machines) -> Graph:
            names = ["detect", "encode"] if chosen["make_detector"] else ["encode"]
            pools = plan_pools(machines, names, sizes={"detect": 1, "encode": 1})
            photos = find_photos(str(source))
            chosen.update(precision="float16", pools=pools, worker=Worker(micro_batch=4))
            return index_graph(photos, fingerprint="f00", **chosen)

        return index_photos(make_graph, Manifest(fingerprint="f00"), chosen["store"])

    return run


def test_a_folder_and_then_more_photos(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    source = tmp_path / "photos"
    names = make_photos(source, 40)
    (source / "0" / "broken.jpg").write_bytes(b"no photo")
    first = index(source)
    assert first.totals == {"photos": 41, "failed": 1, "objects": first.counts.objects}
    assert first.counts.failures == {"not an image": 1}
    assert first.counts.embedding == (2, 4)
    assert first.counts.devices == {"detect": {"cpu": 1}, "encode": {"cpu": 1}}
    features = FeatureSet.open(str(tmp_path / "out"))
    assert sorted(features.ids) == names
    assert features.failures == {"0/broken.jpg": "not an image"}
    before = features.dataset.to_table().sort_by("image_id")

    more = make_photos(source, 50)
    second = index(source)
    assert second.counts.photos == 10
    assert second.totals["photos"] == 51
    after = FeatureSet.open(str(tmp_path / "out"))
    assert sorted(after.ids) == more
    kept = after.dataset.to_table().sort_by("image_id").filter(pa.compute.field("image_id").isin(before["image_id"]))
    assert kept.equals(before)


def test_webdataset_tars_without_detection(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "photos", 12)
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "shards" / f"{shard}.tar", "w") as tar:
            for name in names[shard::2]:
                data = (tmp_path / "photos" / name).read_bytes()
                info = tarfile.TarInfo(name.replace("/", "-"))
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    outcome = index(tmp_path / "shards", make_detector=None, settings=(None,))
    assert outcome.totals == {"photos": 12, "failed": 0, "objects": 0}
    again = index(tmp_path / "shards", make_detector=None, settings=(None,))
    assert again.counts.photos == 0
    assert again.totals["photos"] == 12
    assert "0.tar/" + names[0].replace("/", "-") in FeatureSet.open(str(tmp_path / "out")).ids


def test_parquet_with_bytes(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "photos", 20)
    data = [(tmp_path / "photos" / name).read_bytes() for name in names]
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table({"jpg": data}), tmp_path / "table" / "t.parquet", row_group_size=8)
    outcome = index(tmp_path / "table", limit=18)
    assert outcome.totals["photos"] == 18
    assert outcome.totals["failed"] == 0
    assert sorted(FeatureSet.open(str(tmp_path / "out")).ids) == sorted(f"t.parquet#{row}" for row in range(18))


def test_a_file_system_by_uri(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "my photos", 9)
    (tmp_path / "my photos" / names[0]).rename(tmp_path / "my photos" / "a #1?é.jpg")
    out = f"file://{tmp_path}/my%20out?region=x"
    outcome = index(f"file://{tmp_path}/my photos", store=FeatureStore(out))
    assert outcome.totals["photos"] == 9
    assert outcome.totals["failed"] == 0
    assert index(f"file://{tmp_path}/my photos", store=FeatureStore(out)).counts.photos == 0
    features = FeatureSet.open(str(tmp_path / "my out"))
    (block,) = features.iter_blocks(["image_id", "uri"])
    folder = f"file://{tmp_path}/my%20photos"
    assert dict(zip(*(column.to_pylist() for column in block.columns), strict=True)) == {
        "a #1?é.jpg": f"{folder}/a%20%231%3F%C3%A9.jpg",
        **{name: f"{folder}/{name}" for name in names[1:]},
    }


ODD_OUT = "what?/a#b/50%/%41/[x]/{a,b}/*/year=2024/a b\né;c/features"
"""Folders whose names mean something to whoever takes a path for a URI, a pattern or a partition."""


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_output_may_have_any_name(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]], scheme: str
) -> None:
    make_photos(tmp_path / "photos", 4)
    out = join(f"{scheme}{tmp_path}", ODD_OUT)
    assert index(tmp_path / "photos", store=FeatureStore(out)).totals["photos"] == 4
    names = make_photos(tmp_path / "photos", 6)
    again = index(tmp_path / "photos", store=FeatureStore(out))
    assert (again.counts.photos, again.totals["photos"]) == (2, 6)
    assert sorted(FeatureSet.open(out).ids) == names
    assert set(pq.read_schema(next((tmp_path / ODD_OUT / "features").glob("*.parquet"))).names) >= {"image_id"}
    assert not {"year"} & set(pq.read_schema(next((tmp_path / ODD_OUT / "features").glob("*.parquet"))).names)


def test_a_growing_table_repeats_no_id_whatever_the_output_is_called(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    names = make_photos(tmp_path / "photos", 6)
    data = [(tmp_path / "photos" / name).read_bytes() for name in names]
    out = str(tmp_path / ODD_OUT)
    for count in (4, 6):
        pq.write_table(pa.table({"jpg": data[:count]}), tmp_path / "t.parquet")
        outcome = index(tmp_path / "t.parquet", store=FeatureStore(out))
    assert (outcome.counts.photos, outcome.totals["photos"]) == (2, 6)
    assert sorted(FeatureSet.open(out).ids) == [f"t.parquet#{row}" for row in range(6)]


def test_a_broken_model_ends_the_run_with_its_reason(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    make_photos(tmp_path / "photos", 3)

    def build(device: str) -> Any:
        raise ValueError("no such weights")

    with pytest.raises(QpertError, match="no such weights"):
        index(tmp_path / "photos", make_detector=build)
    assert FeatureStore(str(tmp_path / "out")).manifest().state == "running"


def test_programs_in_a_foreign_checkpoint_never_run(
    tmp_path: Path, index: Callable[..., Outcome], make_photos: Callable[[Path, int], list[str]]
) -> None:
    """What is done is read from the features; Ray gets to see no checkpoint but those it writes itself."""
    ran, folder = tmp_path / "ran", tmp_path / "out" / "checkpoint" / "f00"
    folder.mkdir(parents=True)
    program = pa.array([pickle.dumps(Touch(str(ran)))], pa.large_binary())
    ids = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), program)
    pq.write_table(pa.table({"image_id": ids}), folder / "run_0.parquet")
    make_photos(tmp_path / "photos", 3)
    FeatureStore(str(tmp_path / "out")).mend(
        "f00"
    )  # as every command does first: the features that it commits are not there
    assert index(tmp_path / "photos").totals["photos"] == 3
    assert not ran.exists()
