"""Photos with the same bytes are found by their digests, without vectors, in sets of several encoders as well."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.duplicates.finding import find_same_bytes
from pipeline.features.feature_set import FeatureSet
from tests.duplicates.similar_sets import row, similar_photos, write_set
from tests.features.stored import commit, manifest

PHOTOS = similar_photos(0, 6, 1, 8)


def test_groups_have_the_same_digest(tmp_path: Path) -> None:
    facts = [
        {"digest": "a", "width": 100},
        {"digest": "b"},
        {"digest": "a", "width": 100},
        {"digest": None},
        {"digest": None},
        {"digest": "a", "width": 300},  # a wrong size, but it shows which is first
    ]
    rows = [row(number, PHOTOS[number], **known) for number, known in enumerate(facts)]
    first, second = write_set(tmp_path / "a", rows[:3], (1, 8)), write_set(tmp_path / "b", rows[3:], (1, 8))
    found = find_same_bytes([FeatureSet.open(first), FeatureSet.open(second)], "largest")
    (group,) = found.rows()
    assert [photo["image_id"] for photo in group] == ["0005.jpg", "0000.jpg", "0002.jpg"]
    assert [photo["set"] for photo in group] == [second, first, first]
    assert [photo["largest"] for photo in group] == [True, False, False]
    assert found.notes == ("2 photos have no digest and were not compared: photos of URLs and of early versions",)
    assert found.threshold is None


def test_sets_of_early_versions_have_no_digests(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    written = write_set(tmp_path / "whole", [row(0, PHOTOS[0]), row(1, PHOTOS[1])], (1, 8), files=1)
    (file,) = (Path(written) / "features").iterdir()
    commit(out, "run_0", pq.read_table(file).drop_columns(["digest", "taken", "size", "mtime"]))
    manifest(out, vectors=1, dim=8)
    found = find_same_bytes([FeatureSet.open(out)], "oldest")
    assert found.groups == []
    assert found.notes[0].startswith("2 photos have no digest")
    assert found.catalogue.table.schema.field("taken").type == pa.timestamp("us")
