"""Sets whose files lack the column `taken`, all or some of them, are read, compacted and verified."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.features.schema import TAKEN, features_schema
from pipeline.features.store import FeatureStore
from tests.features.stored import commit, make_set, manifest, rows_of_photos, some_photos

DATE = datetime(2020, 5, 17, 18, 3, 59)
NAMES = [f"{number}.jpg" for number in range(4)]


def dates(out: str) -> dict[str, datetime | None]:
    rows = FeatureSet.open(out).dataset.to_table(columns=["image_id", "taken"])
    assert rows.schema.field("taken").type == TAKEN.type
    return dict(zip(rows["image_id"].to_pylist(), rows["taken"].to_pylist(), strict=True))


def mixed(folder: Path, *, old: tuple[bool, ...]) -> str:
    """A set of two photos per file, whose `old` files lack the column."""
    source, out = some_photos(folder / "photos", 4), str(folder / "out")
    for number, lacks in enumerate(old):
        rows = rows_of_photos(source, NAMES[2 * number : 2 * number + 2])
        taken = pa.array([DATE] * rows.num_rows, TAKEN.type)
        rows = rows.set_column(rows.column_names.index("taken"), TAKEN, taken)
        commit(out, f"run_{number}", rows.drop_columns(["taken"]) if lacks else rows)
    manifest(out)
    return out


@pytest.mark.parametrize("old", [(True, False), (False, True), (True, True)])
def test_files_with_and_without_dates_are_one_set(tmp_path: Path, old: tuple[bool, ...]) -> None:
    out = mixed(tmp_path, old=old)
    expected = {name: None if old[number // 2] else DATE for number, name in enumerate(NAMES)}
    assert FeatureStore(out).verify().problems == ()
    assert dates(out) == expected
    FeatureStore(out).compact()
    assert FeatureStore(out).verify().problems == ()
    assert dates(out) == expected
    if old == (True, False):
        (file,) = (Path(out) / "features").iterdir()
        assert pq.read_schema(file).field("taken").type == TAKEN.type


def test_the_date_is_a_column_without_a_zone(tmp_path: Path) -> None:
    assert features_schema().field("taken").type == pa.timestamp("us")
    make_set(str(tmp_path / "out"), some_photos(tmp_path / "photos", 2), files=1)
    assert dates(str(tmp_path / "out")) == {"0.jpg": None, "1.jpg": None}
