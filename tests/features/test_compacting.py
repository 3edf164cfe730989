"""Rewriting features without removed rows, interrupted at every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.errors import QpertError
from pipeline.features import compacting, mending
from pipeline.features.compacting import Compacted
from pipeline.features.feature_set import FeatureSet
from pipeline.features.ledger import Ledger
from pipeline.features.marks import mark_files
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.runs.resume import inspect
from tests.features.stored import (
    IDENTITY,
    MARK,
    Source,
    checkpointed,
    commit,
    damage_page,
    ids_in,
    make_set,
    rows_of_photos,
    some_photos,
)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "photos", 9)


@pytest.fixture
def out(tmp_path: Path, source: Source) -> str:
    """Nine rows in three files: the photos of two are gone, and one photo was touched."""
    out = str(tmp_path / "out")
    make_set(out, source)
    (source.folder / "1.jpg").unlink()
    (source.folder / "5.jpg").unlink()
    source.put("7.jpg", b"photo 7", second=2_000)
    inspect(FeatureStore(out), IDENTITY, source.listing()).write(FeatureStore(out))
    return out


def rows_in(out: str) -> Any:
    return FeatureSet.open(out).dataset.to_table().sort_by("image_id").drop_columns(["mtime"])


def test_removed_rows_are_deleted_and_small_files_combined(out: str, source: Source) -> None:
    before = rows_in(out)
    assert FeatureStore(out).compact() == Compacted(3, 1, 2)
    assert rows_in(out).equals(before)
    (path,) = (Path(out) / "features").iterdir()
    assert duckdb.sql(f"select count(*) from '{out}/features/*.parquet'").fetchall() == [(7,)]
    assert len(pd.read_parquet(Path(out) / "features")) == 7
    assert mark_files(Folder.open(out), "removed") == mark_files(Folder.open(out), "seen") == []
    assert ids_in(out) == checkpointed(out) == source.names()
    touched = pq.read_table(path, filters=[("image_id", "==", "7.jpg")])["mtime"][0].as_py()
    assert touched.timestamp() == 2_000
    assert FeatureStore(out).compact() == Compacted()
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0
    assert FeatureStore(out).verify().problems == FeatureStore(out).verify().remarks == ()
    assert FeatureStore(out).manifest().counts == FeatureStore(out).counts(FeatureStore(out).manifest())
    assert FeatureStore(out).counts(FeatureStore(out).manifest())["photos"] == 7


def test_without_merging_only_files_with_removed_rows_are_rewritten(out: str) -> None:
    kept = (Path(out) / "features" / "run_2-0.parquet").stat().st_mtime_ns
    for path in (Path(out) / "seen").iterdir():
        path.unlink()
    assert FeatureStore(out).compact(merge=False) == Compacted(2, 2, 2)
    assert (Path(out) / "features" / "run_2-0.parquet").stat().st_mtime_ns == kept
    assert duckdb.sql(f"select count(*) from '{out}/features/*.parquet'").fetchall() == [(7,)]


def test_repeated_photos_are_resolved_first(out: str, source: Source) -> None:
    commit(out, "twice", rows_of_photos(source, ["2.jpg", "3.jpg"]))
    FeatureStore(out).compact()
    rows = duckdb.sql(f"select image_id from '{out}/features/*.parquet' order by 1").fetchall()
    assert [name for (name,) in rows] == source.names()
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0


def test_a_file_without_remaining_rows_is_deleted(out: str, source: Source) -> None:
    for name in ("0.jpg", "2.jpg"):
        (source.folder / name).unlink()
    inspect(FeatureStore(out), IDENTITY, source.listing()).write(FeatureStore(out))
    assert FeatureStore(out).compact(merge=False) == Compacted(3, 2, 4)
    assert ids_in(out) == source.names()


STEPS = (
    (Ledger, "write"),
    (compacting, "_write_group"),
    (compacting, "tidy"),
    (mending, "record"),
    (Folder, "delete"),
    (mending, "drop_marks"),
)


def interrupt(monkeypatch: pytest.MonkeyPatch, calls: int, *, before: bool) -> None:
    """Interrupt the step number `calls` that writes or deletes, before or after it is done."""
    left = calls

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*of: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and before:
                raise KeyboardInterrupt
            mine = left
            result = call(*of, **named)
            if mine == 0:
                raise KeyboardInterrupt
            return result

        return wrapped

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("merge", [True, False])
def test_it_may_be_interrupted_anywhere(
    out: str, source: Source, monkeypatch: pytest.MonkeyPatch, before: bool, merge: bool
) -> None:
    cuts = 0
    for calls in range(1, 40):
        with monkeypatch.context() as patched:
            interrupt(patched, calls, before=before)
            try:
                FeatureStore(out).compact(merge=merge)
                break
            except KeyboardInterrupt:
                cuts += 1
        assert ids_in(out) == source.names()  # for anyone who opens it now
        assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0
        if calls % 2:
            assert FeatureStore(out).mend(MARK) == ()
            assert ids_in(out) == source.names()
        else:
            continue
        # More work for the next round.
        name = f"more{calls}"
        source.put(f"{name}.jpg", name.encode())
        source.put(f"{name}-gone.jpg", name.encode())
        commit(out, name, rows_of_photos(source, [f"{name}.jpg", f"{name}-gone.jpg"]))
        FeatureStore(out).note_committed(MARK)
        (source.folder / f"{name}-gone.jpg").unlink()
        inspect(FeatureStore(out), IDENTITY, source.listing()).write(FeatureStore(out))
    assert cuts > 6
    FeatureStore(out).compact()
    FeatureStore(out).mend(MARK)
    assert ids_in(out) == checkpointed(out) == source.names()
    rows = duckdb.sql(f"select image_id from '{out}/features/*.parquet' order by 1").fetchall()
    assert [name for (name,) in rows] == source.names()
    assert not list((Path(out) / "features").glob("*.tmp"))
    assert FeatureStore(out).verify().problems == ()


def test_a_lost_file_is_an_error(out: str) -> None:
    (Path(out) / "features" / "run_0-0.parquet").write_bytes(b"")
    with pytest.raises(QpertError, match=r"run_0-0\.parquet .*(?s:.*)the same qpert index again"):
        FeatureStore(out).compact()
    assert (Path(out) / "features" / "run_0-0.parquet").exists()


def test_a_damaged_page_is_found_before_anything_is_replaced(tmp_path: Path, source: Source) -> None:
    out = str(tmp_path / "damaged")
    make_set(out, source)
    path = Path(out) / "features" / "run_1-0.parquet"
    damage_page(path)
    with pytest.raises(QpertError, match=r"run_1-0\.parquet"):
        FeatureStore(out).compact()
    assert len(list((Path(out) / "features").iterdir())) == 3


def test_a_lost_ledger_does_not_lose_compacted_files(out: str, source: Source) -> None:
    FeatureStore(out).compact()
    (Path(out) / "committed.json").unlink()
    assert ids_in(out) == source.names()
    FeatureStore(out).mend(MARK)
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0
