from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.photos import Listing, Shards, find_photos, read_photo
from pipeline.datasets.shards import count_photos, read_shard
from pipeline.errors import QpertError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a/1.PNG", "a/2.jpeg", ".hidden/x.jpg", "notes.md", "a/.thumb.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def pairs(photos: Listing | Shards, limit: int | None = None) -> list[tuple[str, str]]:
    assert isinstance(photos, Listing)
    return [tuple(row.values()) for batch in photos.batches(limit, rows=2) for row in batch.to_pylist()]


def test_a_folder_is_read_recursively_without_hidden_files(folder: Path) -> None:
    photos = find_photos(str(folder))
    assert photos.kind == "folder"
    assert pairs(photos) == [(name, f"{folder}/{name}") for name in ("a/1.PNG", "a/2.jpeg", "b.jpg")]
    assert pairs(photos, limit=1) == [("a/1.PNG", f"{folder}/a/1.PNG")]


def test_a_uri_of_a_file_system_gives_uris(folder: Path) -> None:
    photos = find_photos(f"file://{folder}")
    assert pairs(photos)[0] == ("a/1.PNG", f"file://{folder}/a/1.PNG")
    assert read_photo(f"file://{folder}/a/1.PNG") == b"a/1.PNG"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("**/*.jpe?", ["a/2.jpeg"]),
        ("**/*.*g", ["a/2.jpeg", "b.jpg"]),
        ("a/*", ["1.PNG", "2.jpeg"]),
    ],
)
def test_globs(folder: Path, pattern: str, expected: list[str]) -> None:
    photos = find_photos(f"{folder}/{pattern}")
    assert photos.kind == "glob"
    assert [name for name, _ in pairs(photos)] == expected


def test_a_list_file_may_name_relative_and_absolute_paths(folder: Path) -> None:
    (folder / "list.txt").write_text(f"# photos\nb.jpg\n\n{folder}/a/1.PNG\ns3://bucket/c.jpg\n")
    photos = find_photos(str(folder / "list.txt"))
    assert pairs(photos) == [
        ("b.jpg", f"{folder}/b.jpg"),
        (f"{folder}/a/1.PNG", f"{folder}/a/1.PNG"),
        ("s3://bucket/c.jpg", "s3://bucket/c.jpg"),
    ]


def test_parquet_of_uris(folder: Path) -> None:
    pq.write_table(pa.table({"key": [7, 8], "url": ["b.jpg", "a/1.PNG"]}), folder / "t.parquet")
    assert pairs(find_photos(str(folder / "t.parquet")))[0] == ("b.jpg", f"{folder}/b.jpg")
    named = find_photos(str(folder / "t.parquet"), uri_column="url", id_column="key")
    assert named.kind == "parquet of URIs"
    assert pairs(named)[1] == ("8", f"{folder}/a/1.PNG")


@pytest.mark.parametrize("column", ["jpg", "image.bytes"])
def test_parquet_of_bytes(tmp_path: Path, column: str) -> None:
    data = [b"one", None, b"three", b"four", b"five"]
    values = data if column == "jpg" else [{"bytes": each, "path": "x"} for each in data]
    pq.write_table(pa.table({column.partition(".")[0]: values}), tmp_path / "t.parquet", row_group_size=3)
    photos = find_photos(str(tmp_path))
    assert isinstance(photos, Shards)
    assert photos.count == 5
    rows = [row for shard in photos.shards for table in read_shard(shard, 2) for row in table.to_pylist()]
    assert [row["image_id"] for row in rows] == [f"t.parquet#{at}" for at in range(5)]
    assert [row["data"] for row in rows] == data
    assert [row["error"] for row in rows] == [None, "no bytes in this row", None, None, None]
    assert read_photo(rows[3]["uri"]) == b"four"


def write_tar(path: Path, names: list[str], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))


def test_webdataset_tars(tmp_path: Path) -> None:
    write_tar(tmp_path / "00.tar", ["000.jpg", "000.json", "001.png", "000.jpg"])
    write_tar(tmp_path / "01.tar.gz", ["002.jpg"], "w:gz")
    photos = find_photos(str(tmp_path))
    assert isinstance(photos, Shards)
    assert photos.count is None
    assert [count_photos(shard) for shard in photos.shards] == [3, 1]
    rows = [row for shard in photos.shards for table in read_shard(shard, 2) for row in table.to_pylist()]
    names = ["00.tar/000.jpg", "00.tar/001.png", "00.tar/000.jpg#2", "01.tar.gz/002.jpg"]
    assert [row["image_id"] for row in rows] == names
    assert read_photo(rows[1]["uri"]) == b"001.png"
    assert sum(table.num_rows for table in read_shard(photos.shards[0], 2, limit=1)) == 1


@pytest.mark.parametrize("length", [3 * 1024 + 512 + 3, 3 * 1024 + 100], ids=["in a photo", "in a header"])
def test_a_tar_that_breaks_off_keeps_what_came_before(tmp_path: Path, length: int) -> None:
    write_tar(tmp_path / "00.tar", [f"{n:03}.jpg" for n in range(6)])
    whole = (tmp_path / "00.tar").read_bytes()
    (tmp_path / "00.tar").write_bytes(whole[:length])
    (shard,) = find_photos(str(tmp_path)).shards
    rows = [row for table in read_shard(shard, 100) for row in table.to_pylist()]
    assert [row["image_id"] for row in rows] == ["00.tar/000.jpg", "00.tar/001.jpg", "00.tar/002.jpg", "00.tar"]
    assert rows[-1]["data"] is None
    assert rows[-1]["error"].startswith("damaged archive")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "there is no"),
        ("nowhere/*.jpg", {}, "there is no folder"),
        ("empty", {}, "holds no photos"),
        ("empty/list.txt", {}, "names no photos"),
        ("t.parquet", {"uri_column": "uri"}, "no column uri .*it has number"),
        ("t.parquet", {}, "--bytes-column or --uri-column"),
        ("martian://x/y", {}, "cannot open martian"),
    ],
)
def test_what_cannot_be_found_says_why(tmp_path: Path, source: str, options: dict[str, str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "list.txt").write_text("# nothing\n")
    pq.write_table(pa.table({"number": [1]}), tmp_path / "t.parquet")
    with pytest.raises(QpertError, match=message):
        find_photos(source if "://" in source else str(tmp_path / source), **options)


def test_reading_one_photo_fails_with_a_short_reason(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match=r"^file not found$"):
        read_photo(str(tmp_path / "gone.jpg"))
    (tmp_path / "big.jpg").write_bytes(b"12345")
    with pytest.raises(QpertError, match=r"^file too large: 5 bytes, limit 4$"):
        read_photo(str(tmp_path / "big.jpg"), max_bytes=4)
    with pytest.raises(QpertError, match=r"^cannot read"):
        read_photo(str(tmp_path))
