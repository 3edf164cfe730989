"""A set of several parts is read, searched, verified, compacted and exported like one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.building.building_sets import build_indexes
from pipeline.building.spec import BuildSpec
from pipeline.errors import QpertError
from pipeline.exports.exporting import Export
from pipeline.exports.spec import ExportSpec
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import FORMAT_VERSION, PARTED_FORMAT
from pipeline.features.store import FeatureStore
from pipeline.runs.resume import inspect
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.versions import current_version
from tests.features.stored import (
    IDENTITY,
    MARK,
    Source,
    commit,
    damage_page,
    ids_in,
    make_parts,
    make_set,
    manifest,
    rows_of_photos,
    some_photos,
)

COUNT = 24


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "photos", COUNT)


@pytest.fixture
def out(tmp_path: Path, source: Source) -> str:
    """Four parts, all of them complete."""
    make_parts(str(tmp_path / "out"), source, range(1, 5), 4)
    return str(tmp_path / "out")


def remove(out: str, name: str) -> str:
    """Take a photo out of use in its part, as a run of that part does; returns the folder of the part."""
    tables = FeatureStore(out).files_of(FeatureStore(out).manifest()).tables([])
    [file] = [file for file, table in tables if name in table["image_id"].to_pylist()]
    part, _, inner = file.partition("/")
    rows = pa.table({"file": [inner], "image_id": [name], "reason": ["gone"]})
    FeatureStore(f"{out}/parts/{part}").remove_rows(MARK, rows)
    return f"{out}/parts/{part}"


def test_all_parts_are_one_set(out: str, source: Source, tmp_path: Path) -> None:
    make_set(str(tmp_path / "whole"), source)
    assert ids_in(out) == ids_in(str(tmp_path / "whole")) == source.names()
    parts, whole = FeatureStore(out), FeatureStore(str(tmp_path / "whole"))
    assert parts.manifest().counts == parts.counts(parts.manifest()) == whole.manifest().counts
    assert (parts.manifest().state, parts.manifest().vectors) == ("complete", 2)
    assert len(parts.file_sizes()) == len(parts.open().dataset.files.names) > 4  # type: ignore[union-attr]
    one, other = (FeatureSet.open(root).dataset.to_table().sort_by("image_id") for root in (out, whole.root))
    assert one.equals(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureSet.open(out)


def test_what_is_missing_is_said(source: Source, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    make_parts(out, source, [1, 2, 4], 4)
    with pytest.warns(UserWarning, match=r"of 4 parts, parts 1, 2 and 4 are complete; part 3 is not begun"):
        assert 0 < len(FeatureSet.open(out).ids) < COUNT
    manifest(f"{out}/parts/2-of-4", state="running")
    manifest(f"{out}/parts/4-of-4", fingerprint="other")
    said = FeatureStore(out).manifest().parts_text()
    assert said.partition(", ")[0] == "of 4 parts"
    assert said.partition(", ")[2].split("; ") == [
        "part 1 is complete",
        "part 2 is not finished",
        "part 3 is not begun",
        "part 4 is made with other settings",
    ]
    assert said in FeatureStore(out).verify().remarks


def test_ordinary_sets_are_as_they_were(source: Source, tmp_path: Path) -> None:
    out = str(tmp_path / "whole")
    make_set(out, source)
    stored = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    assert not [name for name in stored if name.startswith("part")]
    assert stored["format"] == FORMAT_VERSION < PARTED_FORMAT  # which earlier versions refuse to read


def test_rows_that_no_longer_count_in_a_part(out: str, source: Source) -> None:
    part = remove(out, "5.jpg")
    assert ids_in(out) == [name for name in source.names() if name != "5.jpg"]
    found = FeatureStore(out).verify()
    assert (found.photos, found.removed, found.problems) == (COUNT - 1, 1, ())
    before = FeatureStore(out).files_of(FeatureStore(out).manifest()).names
    done = FeatureStore(out).compact()
    assert done.dropped == 1
    assert done.after == len(FeatureStore(out).file_sizes()) == 4 < len(before)
    assert ids_in(out) == [name for name in source.names() if name != "5.jpg"]
    assert not [*Path(part, "removed").glob("*.parquet")]


def test_damage_is_named_by_its_place(out: str) -> None:
    [path, *_] = sorted(Path(out, "parts", "2-of-4", "features").iterdir())
    damage_page(path)
    [problem] = FeatureStore(out).verify().problems
    assert problem.startswith(f"parts/2-of-4: features/{path.name} (")
    with pytest.raises(QpertError, match=f"parts/2-of-4/features/{path.name}"):
        FeatureSet.open(out)


def test_a_photo_in_two_parts_is_found(out: str, source: Source) -> None:
    [one, other] = [Path(out, "parts", f"{number}-of-4") for number in (1, 2)]
    name = FeatureSet.open(str(one)).ids[0]
    commit(str(other), "run_9", rows_of_photos(source, [name]))
    manifest(str(other), counts=FeatureStore(str(other)).note_committed(MARK).counts())
    assert "1 photos are in several parts" in FeatureStore(out).verify().problems[-1]


def test_each_part_is_locked_by_itself(out: str, source: Source) -> None:
    one, other = FeatureStore(out).part(1, 4), FeatureStore(out).part(2, 4)
    with (
        one.lock(),
        other.lock(),
        pytest.raises(QpertError, match=r"another run is writing to .*parts/1-of-4"),
        one.lock(),
    ):
        pass


def test_a_part_compares_only_its_own_photos(out: str, source: Source) -> None:
    part = FeatureStore(out).part(1, 4)
    mine = source.listing()
    names = set(ids_in(part.root))
    listing = mine.__class__("folder", "x", lambda: (item for item in mine.saved_items() if item.image_id in names))
    found = inspect(part, IDENTITY, listing)
    assert (found.todo, found.removed, found.done) == (0, 0, len(names))


def test_search_and_its_index(out: str, source: Source) -> None:
    first = open_snapshot(out)  # makes the raw cache
    assert sorted(first.photos.ids(np.arange(COUNT))) == source.names()
    before = current_version(out)
    remove(out, "7.jpg")
    assert current_version(out) != before
    again = open_snapshot(out)
    assert int(again.live.sum()) == COUNT - 1
    [report] = build_indexes(BuildSpec(features=[out], kind="exact"))
    assert report
    assert int(open_snapshot(out).live.sum()) == COUNT - 1


def test_an_export(out: str, source: Source, tmp_path: Path) -> None:
    Export.plan(ExportSpec(features=[out], to="csv", out=str(tmp_path / "out.csv"))).write()
    lines = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert sorted(line.split(",")[0] for line in lines) == sorted(name.removesuffix(".jpg") for name in source.names())
