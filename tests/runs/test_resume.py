"""What an earlier run left on disk, with files written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.photos.found_photos import Listing
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import fingerprint
from pipeline.features.store import FeatureStore
from pipeline.runs.resume import inspect

IDENTITY = {"encoder": {"name": "coca"}, "precision": "float16"}


@pytest.fixture
def photos(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> Listing:
    make_photos(tmp_path / "photos", 6)
    found = find_photos(str(tmp_path / "photos"))
    assert isinstance(found, Listing)
    return found


@pytest.fixture
def out(tmp_path: Path, photos: Listing, write_features: Callable[..., Any]) -> str:
    """Four of the six photos, one of them failed, in two committed files, and a third file that is not committed."""
    ids = sorted(pair[0] for pair in photos.pairs())
    features = write_features([[[1.0, 0.0]]] * 4, ids[:4], failed=[ids[1]], files=2)
    mark = fingerprint(IDENTITY)
    store = FeatureStore(features.folder)
    store.write_manifest(
        store.manifest().model_copy(update={"state": "running", "fingerprint": mark, "identity": IDENTITY})
    )
    folder = Path(features.root)
    checkpoint = folder / "checkpoint" / mark
    checkpoint.mkdir(parents=True)
    for path in (folder / "features").glob("part*.parquet"):
        done = pq.read_table(path, columns=["image_id"])
        pq.write_table(done, checkpoint / f"{path.stem.rpartition('-')[0]}.parquet")
    (folder / "features" / "late-000000.parquet").write_bytes(b"PAR1 half a file")
    return str(features.root)


def test_a_limit_hides_the_rest_of_the_source(out: str, photos: Listing) -> None:
    resume = inspect(FeatureStore(out), IDENTITY, photos)
    assert (resume.total, resume.done, resume.todo, resume.removed) == (6, 4, 2, 0)
    limited = inspect(FeatureStore(out), IDENTITY, photos, 2)
    assert (limited.total, limited.done, limited.todo, limited.removed) == (2, 2, 0, 0)


def test_removed_photos_are_counted(out: str, photos: Listing, tmp_path: Path) -> None:
    name = min(pair[0] for pair in photos.pairs())
    (tmp_path / "photos" / name).unlink()
    assert inspect(FeatureStore(out), IDENTITY, photos).removed == 1


def test_other_settings_are_refused_only_if_something_is_committed(out: str, photos: Listing) -> None:
    other = IDENTITY | {"precision": "float32"}
    with pytest.raises(QpertError, match="precision: float16 -> float32"):
        inspect(FeatureStore(out), other, photos)
    for path in (Path(out) / "checkpoint").rglob("*.parquet"):
        path.unlink()
    resume = inspect(FeatureStore(out), other, photos)
    assert (resume.manifest, resume.todo) == (None, 6)


def test_a_half_written_file_never_counts(out: str) -> None:
    manifest = FeatureStore(out).manifest().model_copy(update={"state": "complete"})
    FeatureStore(out).write_manifest(manifest)
    assert len(FeatureSet.open(out).ids) == 3


def test_only_failed_photos_are_forgotten(out: str, photos: Listing) -> None:
    manifest = FeatureStore(out).manifest()
    before = FeatureSet.open(out).dataset.to_table().filter(pa.compute.field("error").is_null())
    assert FeatureStore(out).forget_failures(manifest.fingerprint) == 1
    assert FeatureStore(out).forget_failures(manifest.fingerprint) == 0
    resume = inspect(FeatureStore(out), IDENTITY, photos)
    assert (resume.done, resume.todo) == (3, 3)
    assert FeatureSet.open(out).dataset.to_table().equals(before)
    ids = {
        name
        for path in (Path(out) / "checkpoint").rglob("*.parquet")
        for name in pq.read_table(path)["image_id"].to_pylist()
    }
    assert ids == set(before["image_id"].to_pylist())


def test_the_source_is_listed_once_and_then_read_from_the_saved_list(out: str, photos: Listing, tmp_path: Path) -> None:
    told: list[int] = []
    resume = inspect(FeatureStore(out), IDENTITY, photos, counted=told.append, note=str(tmp_path / "note.parquet"))
    assert told
    assert isinstance(resume.photos, Listing)
    for path in (tmp_path / "photos").rglob("*.jpg"):
        path.unlink()
    noted = [batch.to_pydict() for batch in resume.photos.batches()]
    assert [len(each["image_id"]) for each in noted] == [6]
    pairs = [(item.image_id, item.uri) for item in resume.photos.saved_items()]
    assert pairs == list(zip(noted[0]["image_id"], noted[0]["uri"], strict=True))
    assert sum(batch.num_rows for batch in resume.photos.batches(4)) == 4
    assert list(photos.pairs()) == []


def test_a_repeated_id_is_named(out: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\nc.jpg\nb.jpg\n")
    with pytest.raises(QpertError, match=r"two photos of .*list\.txt have the id 'b\.jpg'"):
        inspect(FeatureStore(str(tmp_path / "new")), IDENTITY, find_photos(str(tmp_path / "list.txt")))
