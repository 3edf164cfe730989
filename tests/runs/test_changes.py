"""Sources that have changed since they were indexed: by size, by content, gone, back, and unknown."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.features.feature_set import FeatureSet
from pipeline.features.marks import Marks
from pipeline.features.schema import features_schema
from pipeline.features.store import FeatureStore
from pipeline.io.locations import Folder
from pipeline.queries.exact import top_k
from pipeline.retrieval.similarity import rows_of
from pipeline.runs.changes import changed_at
from pipeline.runs.resume import Resume, inspect
from tests.features.stored import (
    DIM,
    IDENTITY,
    MARK,
    VECTORS,
    Source,
    checkpointed,
    commit,
    ids_in,
    make_set,
    manifest,
    rows_of_photos,
    some_photos,
)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return some_photos(tmp_path / "photos", 6)


@pytest.fixture
def out(tmp_path: Path, source: Source) -> str:
    make_set(str(tmp_path / "out"), source)
    return str(tmp_path / "out")


def look(out: str, source: Source, *, write: bool = True, states: bool = True, **options: object) -> Resume:
    resume = inspect(FeatureStore(out), IDENTITY, source.listing(states=states), **options)  # type: ignore[arg-type]
    if write:
        resume.write(FeatureStore(out))
    return resume


def found(resume: Resume) -> tuple[int | None, int, int, int, int]:
    return resume.total, resume.todo or 0, resume.changed, resume.removed, resume.restored


def test_nothing_has_changed(out: str, source: Source) -> None:
    resume = look(out, source)
    assert found(resume) == (6, 0, 0, 0, 0)
    assert not resume.edits


def test_a_different_size_means_a_different_photo(out: str, source: Source) -> None:
    source.put("0.jpg", b"a longer photo")
    assert found(look(out, source, write=False)) == (6, 1, 1, 0, 0)
    assert ids_in(out) == source.names()  # a dry look writes nothing
    resume = look(out, source)
    assert ids_in(out) == checkpointed(out) == source.names()[1:]
    assert found(look(out, source)) == (6, 1, 0, 0, 0)
    assert resume.todo == 1

    commit(out, "again", rows_of_photos(source, ["0.jpg"]))
    assert FeatureStore(out).note_committed(MARK).counts()["photos"] == 6
    assert found(look(out, source)) == (6, 0, 0, 0, 0)
    features = FeatureSet.open(out)
    assert len(features) == len(features.ids) == 6
    assert rows_of(features, ["0.jpg"], ["size"])["0.jpg"]["size"] == len(b"a longer photo")
    assert sorted(hit.image_id for hit in top_k(features, [[1.0] * DIM], k=10)[0]) == source.names()
    assert FeatureStore(out).verify().problems == ()


def test_a_different_time_causes_one_comparison_of_the_content(
    out: str, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put("1.jpg", b"photo 1", second=2_000)
    source.put("2.jpg", b"PHOTO 2", second=2_000)
    assert found(look(out, source)) == (6, 1, 1, 0, 0)
    assert ids_in(out) == ["0.jpg", "1.jpg", "3.jpg", "4.jpg", "5.jpg"]

    def never(*of: object) -> None:
        raise AssertionError("it is remembered")

    monkeypatch.setattr("pipeline.runs.contents.read_photo", never)
    assert found(look(out, source)) == (6, 1, 0, 0, 0)


def test_an_unreadable_photo_keeps_its_row(out: str, source: Source) -> None:
    source.put("1.jpg", b"photo 1", second=2_000)
    listing = source.listing()
    (source.folder / "1.jpg").unlink()
    resume = inspect(FeatureStore(out), IDENTITY, listing)
    assert found(resume) == (6, 0, 0, 0, 0)
    assert not resume.edits


def test_repeated_photos_are_removed_before_anything_is_counted(out: str, source: Source) -> None:
    commit(out, "twice", rows_of_photos(source, ["2.jpg", "3.jpg"]))
    FeatureStore(out).mend(MARK)
    resume = look(out, source)
    assert resume.repeated
    assert found(resume) == (6, 0, 0, 0, 0)
    assert ids_in(out) == checkpointed(out) == source.names()
    assert not look(out, source).repeated
    assert FeatureStore(out).verify().problems == ()


@pytest.mark.parametrize("changed", [False, True])
def test_older_rows_of_a_photo_never_replace_the_latest(out: str, source: Source, changed: bool) -> None:
    source.put("2.jpg", b"a second photo 2", second=2_000)
    look(out, source)
    commit(out, "again", rows_of_photos(source, ["2.jpg"]))
    FeatureStore(out).mend(MARK)
    shutil.rmtree(Path(out) / "removed")  # so the row from before counts again
    if changed:
        source.put("2.jpg", b"a third one of photo 2", second=3_000)
    resume = look(out, source)
    assert found(resume) == (6, int(changed), int(changed), 0, 0)
    assert ids_in(out) == [name for name in source.names() if name != "2.jpg" or not changed]
    assert look(out, source).todo == int(changed)


def test_lost_marks_are_noticed_by_the_recorded_counts(
    out: str, source: Source, recwarn: pytest.WarningsRecorder
) -> None:
    (source.folder / "0.jpg").unlink()
    look(out, source)
    manifest(out, counts=FeatureStore(out).counts(FeatureStore(out).manifest()))
    assert len(FeatureSet.open(out)) == 5
    assert FeatureStore(out).verify().problems == ()
    assert not [warning for warning in recwarn if "removed" in str(warning.message)]
    shutil.rmtree(Path(out) / "removed")
    with pytest.warns(UserWarning, match="6 rows count where manifest.json says 5, so something in removed/ is lost"):
        FeatureSet.open(out)
    assert "6 rows count where manifest.json says 5" in FeatureStore(out).verify().problems[0]
    assert look(out, source).removed == 1
    assert FeatureStore(out).verify().problems == ()


def test_unknown_sizes_and_times_are_not_compared(out: str, source: Source) -> None:
    source.put("0.jpg", b"a longer photo", second=2_000)
    assert found(look(out, source, states=False)) == (6, 0, 0, 0, 0)


def test_sets_of_earlier_versions_are_not_compared(tmp_path: Path, source: Source) -> None:
    out = str(tmp_path / "old")
    rows = rows_of_photos(source, source.names()).drop_columns(["size", "mtime", "digest"])
    commit(out, "run_0", rows)
    make_set(out, Source(tmp_path / "none"), files=1, ledger=False)
    (Path(out) / "features" / "run_0-0.parquet").unlink()
    commit(out, "run_0", rows)
    FeatureStore(out).mend(MARK)
    source.put("0.jpg", b"a longer photo", second=2_000)
    assert found(look(out, source)) == (6, 0, 0, 0, 0)
    assert FeatureStore(out).compact().before == 0


def test_a_changed_photo_that_failed_is_tried_again(tmp_path: Path, source: Source) -> None:
    out = str(tmp_path / "failed")
    make_set(out, source, failed=["3.jpg"])
    assert look(out, source).todo == 0
    source.put("3.jpg", b"now it is whole")
    assert found(look(out, source)) == (6, 1, 1, 0, 0)
    assert FeatureStore(out).counts(FeatureStore(out).manifest()) == {"photos": 5, "failed": 0, "objects": 5}


def test_photos_that_are_gone_are_left_out_until_they_come_back(out: str, source: Source) -> None:
    (source.folder / "4.jpg").unlink()
    (source.folder / "5.jpg").unlink()
    assert found(look(out, source)) == (4, 0, 0, 2, 0)
    assert ids_in(out) == FeatureSet.open(out).ids == checkpointed(out) == source.names()
    assert FeatureStore(out).counts(FeatureStore(out).manifest())["photos"] == 4
    assert found(look(out, source)) == (4, 0, 0, 0, 0)

    source.put("4.jpg", b"photo 4")
    source.put("5.jpg", b"another photo 5")
    assert found(look(out, source)) == (6, 1, 0, 0, 1)  # the one as it was needs no model
    assert ids_in(out) == checkpointed(out) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    commit(out, "again", rows_of_photos(source, ["5.jpg"]))
    FeatureStore(out).note_committed(MARK)
    assert ids_in(out) == source.names()
    (source.folder / "5.jpg").unlink()
    assert found(look(out, source)) == (5, 0, 0, 1, 0)
    assert ids_in(out) == source.names()


def test_photos_that_are_gone_may_be_kept(out: str, source: Source) -> None:
    (source.folder / "5.jpg").unlink()
    assert found(look(out, source, keep_removed=True)) == (5, 0, 0, 1, 0)
    assert len(ids_in(out)) == 6
    look(out, source)
    assert len(ids_in(out)) == 5
    assert look(out, source, keep_removed=True).removed == 1
    assert len(ids_in(out)) == 6


@pytest.mark.parametrize("options", [{"limit": 2}, {"whole": False}])
def test_a_limit_says_nothing_about_the_other_photos(out: str, source: Source, options: dict[str, object]) -> None:
    (source.folder / "5.jpg").unlink()
    source.put("0.jpg", b"a longer photo")
    resume = look(out, source, **options)
    assert (resume.changed, resume.removed) == (1, 0)
    assert ids_in(out) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]


def test_other_readers_leave_out_removed_rows_by_a_join(out: str, source: Source) -> None:
    source.put("0.jpg", b"a longer photo")
    look(out, source)
    query = f"""select count(*) from read_parquet('{out}/features/*.parquet', filename = true) f
                anti join '{out}/removed/*.parquet' r
                on r.image_id = f.image_id and r.file = parse_filename(f.filename)"""
    assert duckdb.sql(query).fetchall() == [(5,)]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1"])
def test_damaged_marks_are_worked_out_again(out: str, source: Source, content: bytes) -> None:
    source.put("0.jpg", b"a longer photo")
    look(out, source)
    (path,) = (Path(out) / "removed").iterdir()
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"removed/.* is damaged .*the same qpert index again"):
        FeatureSet.open(out)
    with pytest.warns(UserWarning, match="worked out again"):
        FeatureStore(out).mend(MARK)
    assert found(look(out, source)) == (6, 1, 1, 0, 0)


def test_excluded_photos_are_not_gone(out: str, source: Source) -> None:
    for name in ("4.jpg", "5.jpg"):
        (source.folder / name).unlink()
    for rules in (SourceRules(exclude=("5.jpg",)), SourceRules(include=("[0-4].jpg",))):
        for _ in range(2):  # nor the next time
            resume = inspect(FeatureStore(out), IDENTITY, replace(source.listing(), rules=rules))
            assert (resume.removed, resume.done) == (1, 4)
    resume.write(FeatureStore(out))
    assert ids_in(out) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "5.jpg"]


# Files of many photos


def tar(path: Path, photos: dict[str, bytes], second: int) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in photos.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    os.utime(path, (second, second))


def table(path: Path, photos: dict[str, bytes], second: int) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"key": list(photos), "jpg": list(photos.values())}), path, row_group_size=2)
    os.utime(path, (second, second))


def shards_of(folder: Path) -> Shards:
    source = find_photos(str(folder), id_column="key" if list(folder.glob("*.parquet")) else None)
    assert isinstance(source, Shards)
    return source


def index_shards(out: str, name: str, source: Shards, only: set[str] | None = None) -> None:
    """What a run would write for them."""
    rows = []
    for shard in source.shards:
        for part in read_shard(shard, 64):
            assert part["error"].null_count == part.num_rows
            for row in part.to_pylist():
                if only is None or row["image_id"] in only:
                    vector = [1.0] * VECTORS * DIM
                    rows.append(
                        {field: row[field] for field in ("image_id", "uri", "size", "digest")}
                        | {"embedding": vector, "objects": [], "mtime": changed_at(shard)}
                    )
    commit(out, name, pa.Table.from_pylist(rows, features_schema()))


@pytest.mark.parametrize(("write", "name"), [(tar, "a.tar"), (table, "a.parquet")])
def test_shards_with_a_different_time_are_read_again(tmp_path: Path, write, name: str) -> None:  # type: ignore[no-untyped-def]
    folder, out = tmp_path / "shards", str(tmp_path / "out")
    photos = {f"{number}.jpg": b"photo %d" % number for number in range(5)}
    write(folder / name, photos, 1_000)
    write(folder / f"b{name}", {"x.jpg": b"x", "y.jpg": b"y"}, 1_000)
    index_shards(out, "run_0", shards_of(folder))
    make_manifest_of(out)
    prefix = f"{name}/" if name.endswith("tar") else ""

    def look_at() -> Resume:
        resume = inspect(FeatureStore(out), IDENTITY, shards_of(folder))
        resume.write(FeatureStore(out))
        return resume

    assert (look_at().changed, look_at().removed, look_at().done) == (0, 0, 7)

    photos["1.jpg"], photos["9.jpg"] = b"PHOTO 1", b"new"
    del photos["3.jpg"]
    write(folder / name, photos, 2_000)
    resume = look_at()
    assert (resume.changed, resume.removed, resume.done) == (1, 1, 5)
    left = [f"{prefix}{number}.jpg" for number in (0, 2, 4)]
    assert [each for each in ids_in(out) if each.endswith(("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"))] == left
    resume = look_at()
    assert (resume.changed, resume.removed, resume.done) == (0, 0, 5)
    assert Marks.read(Folder.open(out), "seen").by_file["run_0-0.parquet"].num_rows == 3

    index_shards(out, "again", shards_of(folder), {f"{prefix}1.jpg", f"{prefix}9.jpg"})
    FeatureStore(out).note_committed(MARK)
    resume = look_at()
    assert (resume.changed, resume.removed, resume.done) == (0, 0, 7)

    (folder / f"b{name}").unlink()
    resume = look_at()
    assert (resume.changed, resume.removed, resume.done) == (0, 2, 5)
    write(folder / f"b{name}", {"x.jpg": b"x", "y.jpg": b"y"}, 1_000)
    resume = look_at()
    assert (resume.restored, resume.removed, resume.done) == (2, 0, 7)
    assert FeatureStore(out).verify().problems == ()


def make_manifest_of(out: str) -> None:
    from tests.features.stored import manifest

    manifest(out)
    FeatureStore(out).note_committed(MARK)


def test_a_tar_that_is_cut_off_keeps_its_rows(tmp_path: Path) -> None:
    folder, out = tmp_path / "shards", str(tmp_path / "out")
    photos = {f"{number}.jpg": bytes(2000) + b"%d" % number for number in range(5)}
    tar(folder / "a.tar", photos, 1_000)
    index_shards(out, "run_0", shards_of(folder))
    make_manifest_of(out)
    whole = (folder / "a.tar").read_bytes()
    (folder / "a.tar").write_bytes(whole[: len(whole) // 2 + 700])
    os.utime(folder / "a.tar", (2_000, 2_000))
    resume = inspect(FeatureStore(out), IDENTITY, shards_of(folder))
    assert (resume.changed, resume.removed, resume.done) == (0, 0, 5)


def test_shards_without_a_known_time_are_not_compared(tmp_path: Path) -> None:
    folder, out = tmp_path / "shards", str(tmp_path / "out")
    tar(folder / "a.tar", {"0.jpg": b"0"}, 1_000)
    source = shards_of(folder)
    index_shards(out, "run_0", source)
    make_manifest_of(out)
    tar(folder / "a.tar", {"0.jpg": b"1"}, 2_000)
    unknown = replace(source, shards=tuple(replace(shard, mtime=None) for shard in source.shards))
    assert inspect(FeatureStore(out), IDENTITY, unknown).changed == 0
