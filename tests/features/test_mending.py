"""Feature sets with lost, truncated and overwritten files: what opening says, and what is indexed again."""

from __future__ import annotations

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import QpertError
from pipeline.features import mending, removing
from pipeline.features.feature_set import FeatureSet
from pipeline.features.files import FeatureFiles
from pipeline.features.ledger import Ledger
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
    manifest,
    rows_of_photos,
    some_photos,
)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "photos", 9)


@pytest.fixture
def out(tmp_path: Path, source: Source) -> str:
    make_set(str(tmp_path / "out"), source)
    return str(tmp_path / "out")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "garbage": lambda path: path.write_bytes(random.Random(0).randbytes(path.stat().st_size)),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another text": lambda path: path.write_text("not Parquet"),
    "footer overwritten": lambda path: path.write_bytes(path.read_bytes()[:-200] + bytes(192) + path.read_bytes()[-8:]),
    "early page": lambda path: damage_page(path, 0.02),
    "middle page": lambda path: damage_page(path, 0.5),
    "late page": lambda path: damage_page(path, 0.9),
}


def read_all(out: str) -> None:
    for _ in FeatureSet.open(out).iter_blocks():
        pass


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("ledger", [True, False])
def test_a_broken_file_is_named_and_just_its_photos_are_to_be_indexed_again(
    out: str, source: Source, damage: str, ledger: bool
) -> None:
    if not ledger:
        (Path(out) / "committed.json").unlink()
    path = Path(out) / "features" / "run_1-0.parquet"
    DAMAGE[damage](path)
    with pytest.raises(QpertError, match=r"run_1-0\.parquet") as raised:
        read_all(out)
    assert "the same qpert index again" in str(raised.value)
    assert FeatureStore(out).verify().problems
    before = (Path(out) / "features" / "run_0-0.parquet").read_bytes()

    assert [lost.name for lost in FeatureStore(out).mend(MARK)] == ["run_1-0.parquet"]
    assert not path.exists()
    assert ids_in(out) == checkpointed(out) == ["0.jpg", "1.jpg", "2.jpg", "6.jpg", "7.jpg", "8.jpg"]
    resume = inspect(FeatureStore(out), IDENTITY, source.listing())
    assert (resume.total, resume.done, resume.todo, resume.removed) == (9, 6, 3, 0)
    assert (Path(out) / "features" / "run_0-0.parquet").read_bytes() == before
    assert FeatureStore(out).mend(MARK) == ()

    commit(out, "again", rows_of_photos(source, ["3.jpg", "4.jpg", "5.jpg"]))
    assert FeatureStore(out).note_committed(MARK).counts() == {"photos": 9, "failed": 0, "objects": 9}
    assert ids_in(out) == source.names()
    assert FeatureStore(out).verify().problems == ()


def test_inspecting_counts_what_is_lost_and_writes_nothing(out: str, source: Source) -> None:
    (Path(out) / "features" / "run_2-0.parquet").unlink()
    before = sorted((path, path.stat().st_mtime_ns) for path in Path(out).rglob("*") if path.is_file())
    resume = inspect(FeatureStore(out), IDENTITY, source.listing())
    assert [(lost.name, lost.rows) for lost in resume.lost] == [("run_2-0.parquet", 3)]
    assert (resume.done, resume.todo, resume.removed) == (6, 3, 0)
    assert sorted((path, path.stat().st_mtime_ns) for path in Path(out).rglob("*") if path.is_file()) == before


def test_a_set_that_lost_all_files_is_not_an_empty_set(out: str, source: Source) -> None:
    for path in (Path(out) / "features").iterdir():
        path.unlink()
    with pytest.raises(QpertError, match=r"3 of its 3 files are lost or damaged, with 9 photos"):
        FeatureSet.open(out)
    FeatureStore(out).mend(MARK)
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 9


def test_damage_under_the_same_modification_time_is_found_by_verify_and_then_mended(out: str) -> None:
    path = Path(out) / "features" / "run_1-0.parquet"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    damage_page(path, 0.5)
    os.utime(path, ns=times)
    assert FeatureStore(out).mend(MARK) == ()
    assert "run_1-0.parquet" in "".join(FeatureStore(out).verify().problems)
    with pytest.raises(QpertError, match="found damaged, 3 photos"):
        FeatureSet.open(out)
    assert [lost.name for lost in FeatureStore(out).mend(MARK)] == ["run_1-0.parquet"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1, "files": {"../x.parquet": {}}}', b"\xff\xfe"])
def test_a_damaged_ledger_is_rebuilt_from_the_files(out: str, content: bytes) -> None:
    (Path(out) / "committed.json").write_bytes(content)
    with pytest.raises(QpertError, match=r"committed.json is damaged .*run the same qpert index again"):
        FeatureSet.open(out)
    with pytest.warns(UserWarning, match="rebuilt from the files"):
        assert FeatureStore(out).mend(MARK) == ()
    assert len(ids_in(out)) == 9
    assert sorted(json.loads((Path(out) / "committed.json").read_text())["files"]) == [
        f"run_{number}-0.parquet" for number in range(3)
    ]


@pytest.mark.parametrize(
    "name", ["../../x.parquet", "a/b.parquet", "..", "/etc/passwd", ".x.parquet", "x.txt", "a\\b.parquet"]
)
def test_a_ledger_that_names_files_elsewhere_is_refused(out: str, name: str) -> None:
    stored = json.loads((Path(out) / "committed.json").read_text())
    stored["retired"] = [name]
    (Path(out) / "committed.json").write_text(json.dumps(stored))
    with pytest.raises(QpertError, match="not the name of a features file"):
        Ledger.find(Folder.open(out))


def test_a_ledger_of_a_newer_version_is_kept(out: str) -> None:
    stored = json.loads((Path(out) / "committed.json").read_text()) | {"format": 99}
    (Path(out) / "committed.json").write_text(json.dumps(stored))
    with pytest.raises(QpertError, match="upgrade"):
        FeatureStore(out).mend(MARK)
    assert json.loads((Path(out) / "committed.json").read_text())["format"] == 99


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_damaged_checkpoint_loses_nothing(out: str, source: Source, content: bytes | None) -> None:
    for path in (Path(out) / "checkpoint" / MARK).iterdir():
        path.unlink() if content is None else path.write_bytes(content)
    FeatureStore(out).mend(MARK)
    assert ids_in(out) == source.names()
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0
    if content is None:
        assert checkpointed(out) == source.names()


@pytest.mark.parametrize("state", ["running", "complete"])
def test_a_set_without_checkpoint_and_ledger_is_taken_over(out: str, source: Source, state: str) -> None:
    (Path(out) / "committed.json").unlink()
    for path in (Path(out) / "checkpoint" / MARK).iterdir():
        path.unlink()
    (Path(out) / "features" / "half-0.parquet").write_bytes(b"PAR1 half a file")
    manifest(out, state=state)
    assert [lost.name for lost in FeatureStore(out).mend(MARK)] == ["half-0.parquet"]
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0
    assert not (Path(out) / "features" / "half-0.parquet").exists()


def test_files_that_a_killed_driver_did_not_record_are_read_whole_and_added(out: str, source: Source) -> None:
    for name in ("9.jpg", "10.jpg"):
        source.put(name, name.encode())
    commit(out, "late_0", rows_of_photos(source, ["9.jpg"]))
    commit(out, "late_1", rows_of_photos(source, ["10.jpg"]))
    damage_page(Path(out) / "features" / "late_1-0.parquet", 0.5)
    assert [lost.name for lost in FeatureStore(out).mend(MARK)] == ["late_1-0.parquet"]
    ledger = Ledger.find(Folder.open(out))
    assert ledger is not None
    assert list(ledger.files)[-1] == "late_0-0.parquet"
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 1


@pytest.mark.parametrize("name", ["run_0-1", "run_0-copy", "run_0-0 (1)", "zz", "compact-a-0"])
def test_a_copy_of_a_file_does_not_count(out: str, source: Source, name: str) -> None:
    features = Path(out) / "features"
    shutil.copy(features / "run_0-0.parquet", features / f"{name}.parquet")
    assert ids_in(out) == source.names()
    assert FeatureStore(out).mend(MARK) == ()
    assert ids_in(out) == source.names()
    assert FeatureStore(out).verify().problems == ()


def test_a_foreign_table_is_named_and_kept(out: str, source: Source) -> None:
    for folder in ("committed.json", f"checkpoint/{MARK}"):
        path = Path(out) / folder
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    foreign = Path(out) / "features" / "zz-0.parquet"
    pq.write_table(pa.table({"image_id": ["0.jpg"], "price": [1]}), foreign)
    for call in (
        FeatureSet.open,
        lambda out: FeatureStore(out).verify(),
        lambda out: FeatureStore(out).mend(MARK),
        lambda out: FeatureStore(out).compact(),
    ):
        with pytest.raises(QpertError, match=r"zz-0\.parquet is not a features file: it has no column error; move"):
            call(out)
    foreign.unlink()
    assert FeatureStore(out).mend(MARK) == ()
    assert ids_in(out) == source.names()


def test_pending_files_are_deleted(out: str) -> None:
    features, checkpoint = Path(out) / "features", Path(out) / "checkpoint" / MARK
    (features / "half-0.parquet").write_bytes(b"PAR1")
    (checkpoint / "half.pending.parquet").write_bytes(b"x")
    assert len(ids_in(out)) == 9
    FeatureStore(out).take_back(MARK)
    assert not (features / "half-0.parquet").exists()
    assert sorted(path.name for path in checkpoint.iterdir()) == [f"run_{number}.parquet" for number in range(3)]
    assert len(ids_in(out)) == 9


def test_a_repeated_photo_keeps_its_latest_row(out: str, source: Source) -> None:
    source.put("4.jpg", b"new content")
    commit(out, "a_later_name_would_not_do", rows_of_photos(source, ["4.jpg", "5.jpg"]))
    store = FeatureStore(out).note_committed(MARK)
    assert store.counts()["photos"] == 11
    assert any("2 photos have several rows" in line for line in FeatureStore(out).verify().problems)
    assert FeatureStore(out).drop_repeated(MARK) == 2
    assert ids_in(out) == source.names()
    (row,) = FeatureSet.open(out).dataset.to_table(filter=_is("4.jpg")).to_pylist()
    assert row["size"] == len(b"new content")
    FeatureStore(out).note_committed(MARK)
    assert FeatureStore(out).drop_repeated(MARK) == 0
    assert FeatureStore(out).counts(FeatureStore(out).manifest())["photos"] == 9
    assert FeatureStore(out).verify().problems == ()


def _is(name: str):  # type: ignore[no-untyped-def]
    import pyarrow.dataset as ds

    return ds.field("image_id") == name


def test_failed_photos_are_tried_again_wherever_forgetting_them_was_interrupted(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is removed before its id leaves the checkpoint, so that one of the two always holds."""
    out = str(tmp_path / "failed")
    make_set(out, source, failed=["1.jpg", "7.jpg"])

    def interrupt(*of: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(removing, "record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            FeatureStore(out).forget_failures(MARK)
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 2
    assert len(checkpointed(out)) == 9

    source.put("9.jpg", b"9")
    commit(out, "more", rows_of_photos(source, ["9.jpg"], failed=["9.jpg"]))
    with monkeypatch.context() as patched:
        patched.setattr(removing, "add_marks", interrupt)
        with pytest.raises(KeyboardInterrupt):
            FeatureStore(out).forget_failures(MARK)
    assert "9.jpg" in checkpointed(out)  # until its row is removed
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 2

    assert FeatureStore(out).forget_failures(MARK) == 1
    assert FeatureStore(out).forget_failures(MARK) == 0
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 3
    assert ids_in(out) == [f"{number}.jpg" for number in (0, 2, 3, 4, 5, 6, 8)]


def test_mending_may_be_interrupted_anywhere(out: str, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ["Ledger.write", "Folder.delete", "drop_marks", "record"]
    for count in range(6):
        path = Path(out) / "features" / "run_1-0.parquet"
        whole = rows_of_photos(source, ["3.jpg", "4.jpg", "5.jpg"])
        commit(out, "run_1", whole)
        note = FeatureStore(out).note_committed(MARK) if Ledger.find(Folder.open(out)) else None
        assert note is None or ids_in(out) == source.names()
        damage_page(path, 0.5)
        left = count

        def counting(call: Callable[..., object]) -> Callable[..., object]:
            def wrapped(*of: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return call(*of, **named)

            return wrapped

        with monkeypatch.context() as patched:
            for step in steps:
                owner, _, name = step.rpartition(".")
                target = getattr(mending, owner) if owner else mending
                patched.setattr(target, name, counting(getattr(target, name)))
            with suppress(KeyboardInterrupt):
                FeatureStore(out).mend(MARK)
        FeatureStore(out).mend(MARK)
        assert ids_in(out) == ["0.jpg", "1.jpg", "2.jpg", "6.jpg", "7.jpg", "8.jpg"]
        assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 3
        duckdb.sql(f"select count(*) from '{out}/features/*.parquet'").fetchall()


def test_a_set_of_an_earlier_version_opens_resumes_and_gets_a_ledger(tmp_path: Path, source: Source) -> None:
    out = str(tmp_path / "old")
    make_set(out, source, ledger=False)
    assert ids_in(out) == source.names()
    assert inspect(FeatureStore(out), IDENTITY, source.listing()).todo == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert FeatureStore(out).verify().problems == ()
    ledger = Ledger.find(Folder.open(out))
    assert ledger is not None
    assert sum(note.rows for note in ledger.files.values()) == 9


def test_features_with_types_that_may_hold_programs_are_refused_and_kept(out: str) -> None:
    path = Path(out) / "features" / "run_1-0.parquet"
    table = pq.ParquetFile(path).read()
    field = pa.field("uri", pa.string(), metadata={"ARROW:extension:name": "ray.data.arrow_pickled_object"})
    at = table.column_names.index("uri")
    pq.write_table(table.set_column(at, field, table["uri"]), path)
    (Path(out) / "committed.json").unlink()
    for call in (lambda: read_all(out), lambda: FeatureStore(out).mend(MARK), lambda: FeatureStore(out).verify()):
        with pytest.raises(QpertError, match="extension types, which may hold programs"):
            call()
    assert path.exists()


def test_failing_memory_and_storage_are_not_taken_for_damage(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(out) / "features" / "run_1-0.parquet"
    os.utime(path, (5, 5))

    def fail(*of: object, **named: object) -> None:
        raise error

    for error in (MemoryError("no memory"), OSError(5, "Input/output error")):
        with monkeypatch.context() as patched:
            patched.setattr(pq.ParquetFile, "iter_batches", fail)
            if isinstance(error, OSError):
                patched.setattr(FeatureFiles, "_read_raw", fail)
            with pytest.raises(type(error)):
                FeatureStore(out).mend(MARK)
        assert path.exists()
    assert FeatureStore(out).mend(MARK) == ()
