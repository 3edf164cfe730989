"""Parts of a source: every photo is in one of them, and stays there."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.photos import parquet_shards
from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.part import Part, PartBy
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError

MakePhotos = Callable[[Path, int], list[str]]


def ids(source: Path | str, part: Part) -> list[str]:
    found = find_photos(str(source), part=part)
    return (
        [shard.name for shard in found.shards]
        if isinstance(found, Shards)
        else [item.image_id for item in found.items()]
    )


def divided(source: Path | str, count: int, by: PartBy = "photo") -> list[list[str]]:
    return [ids(source, Part(number, count, by)) for number in range(1, count + 1)]


def flat(parts: list[list[str]]) -> list[str]:
    return sorted(chain(*parts))


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/1", "3/4/5", "a/b", "1/10001", "-1/4"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(QpertError, match="such as 3/20"):
        Part.parse(text)


def test_parts_of_a_folder_are_stable(tmp_path: Path, make_photos: MakePhotos) -> None:
    names = make_photos(tmp_path, 60)
    before = divided(tmp_path, 3)
    assert flat(before) == names
    assert all(before)
    more = make_photos(tmp_path, 90)
    after = divided(tmp_path, 3)
    assert flat(after) == more
    assert all(set(one) <= set(other) for one, other in zip(before, after, strict=True))
    assert divided(f"{tmp_path}/**/*.jpg", 3) == after


def test_the_hash_never_changes() -> None:
    assert [Part(number, 4).has("0/0001.jpg") for number in (1, 2, 3, 4)] == [True, False, False, False]


def test_by_folder_the_folders_of_other_parts_are_not_listed(
    tmp_path: Path, make_photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_photos(tmp_path, 30)
    assert flat(divided(tmp_path, 4, "folder")) == names
    from pipeline.datasets.photos import folder_walk

    listed: list[str] = []
    entries = folder_walk.local_entries
    monkeypatch.setattr(folder_walk, "local_entries", lambda folder, out: listed.append(folder) or entries(folder, out))
    for number in range(1, 5):
        listed.clear()
        part = Part(number, 4, "folder")
        mine = {name.partition("/")[0] for name in ids(tmp_path, part)}
        assert {Path(folder) for folder in listed} == {tmp_path, *(tmp_path / name for name in mine)}


def test_tars_and_tables_are_divided_by_file_and_the_others_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("tars", "tables"):
        (tmp_path / folder).mkdir()
    for number in range(12):
        with tarfile.open(tmp_path / "tars" / f"{number:02}.tar", "w"):
            pass
        pq.write_table(pa.table({"bytes": [b"x"]}), tmp_path / "tables" / f"{number:02}.parquet")
    opened: list[str] = []
    groups = parquet_shards.row_groups
    monkeypatch.setattr(
        parquet_shards, "row_groups", lambda path, *rest: opened.append(Path(path).name) or groups(path, *rest)
    )
    for folder in ("tars", "tables"):
        assert flat(divided(tmp_path / folder, 3)) == sorted(path.name for path in (tmp_path / folder).iterdir())
    assert sorted(opened) == sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert [*map(len, divided(tmp_path / "tables", 1000))].count(1) == 12  # most parts have no file at all


def test_a_list_is_divided_by_photo_and_one_file_of_photos_is_not(tmp_path: Path) -> None:
    (tmp_path / "photos.txt").write_text("".join(f"{number}.jpg\n" for number in range(40)))
    assert flat(divided(tmp_path / "photos.txt", 3)) == sorted(f"{number}.jpg" for number in range(40))
    with pytest.raises(QpertError, match="--part-by folder is for photos in folders"):
        ids(tmp_path / "photos.txt", Part(1, 3, "folder"))
    pq.write_table(pa.table({"bytes": [b"x"]}), tmp_path / "photos.parquet")
    with pytest.raises(QpertError, match="is one file, which --part does not divide"):
        ids(tmp_path / "photos.parquet", Part(1, 3))
