"""Parquet sources: choosing columns, checking values, damaged files, and single rows."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.parquet import read_row
from pipeline.datasets.photos.parquet_shards import shard_ids
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.io.parquet import read_table


def rows_of(photos: Listing | Shards) -> list[dict[str, Any]]:
    assert isinstance(photos, Shards)
    return [row for shard in photos.shards for table in read_shard(shard, 2) for row in table.to_pylist()]


def test_uris(tmp_path: Path) -> None:
    meta = [{"id": 7, "uri": "b.jpg"}, {"id": 8, "uri": "s3://bucket/my photo.jpg"}]
    pq.write_table(pa.table({"key": ["x", "y"], "url": ["b.jpg", "/a/1.PNG"], "meta": meta}), tmp_path / "t.parquet")
    source = str(tmp_path / "t.parquet")
    photos = find_photos(source)
    assert isinstance(photos, Listing)
    assert list(photos.pairs()) == [("b.jpg", f"{tmp_path}/b.jpg"), ("/a/1.PNG", "/a/1.PNG")]
    named = find_photos(source, uri_column="url", id_column="key")
    assert isinstance(named, Listing)
    assert named.kind == "parquet of URIs"
    assert [name for name, _ in named.pairs()] == ["x", "y"]
    nested = find_photos(f"file://{source}", uri_column="meta.uri", id_column="meta.id")
    assert isinstance(nested, Listing)
    assert list(nested.pairs()) == [("7", f"file://{tmp_path}/b.jpg"), ("8", "s3://bucket/my photo.jpg")]


@pytest.mark.parametrize("column", ["jpg", "image.bytes"])
def test_bytes(tmp_path: Path, column: str) -> None:
    data = [b"one", None, b"three", b"four", b"five"]
    values = data if column == "jpg" else [{"bytes": photo, "path": "x"} for photo in data]
    pq.write_table(pa.table({column.partition(".")[0]: values}), tmp_path / "t.parquet", row_group_size=3)
    photos = find_photos(str(tmp_path))
    assert isinstance(photos, Shards)
    assert photos.count == 5
    rows = rows_of(photos)
    assert [row["image_id"] for row in rows] == [f"t.parquet#{at}" for at in range(5)]
    assert [row["data"] for row in rows] == data
    assert [row["error"] for row in rows] == [None, "no bytes in this row", None, None, None]
    assert {row["mtime"] for row in rows} == {photos.shards[0].mtime} != {None}
    assert read_photo(rows[3]["uri"]) == b"four"


@pytest.mark.parametrize("column", ["photo", "img.raw", "a.b;c#d", "deep.er.raw"])
def test_the_uri_names_the_column_and_row(tmp_path: Path, column: str) -> None:
    photos = [b"0", b"1", b"2"]
    columns: dict[str, Any] = {"thumb": [b"x"] * 3, "name": ["a", "b", "c"], "a.b;c#d": photos, "photo": photos}
    columns |= {"img": [{"raw": photo} for photo in photos], "deep": [{"er": {"raw": photo}} for photo in photos]}
    pq.write_table(pa.table(columns), tmp_path / "my #1.parquet", row_group_size=2)
    for source in (str(tmp_path), f"file://{tmp_path}?region=x"):
        rows = rows_of(find_photos(source, bytes_column=column, id_column="name"))
        assert [row["image_id"] for row in rows] == ["a", "b", "c"]
        assert [row["data"] for row in rows] == [read_photo(row["uri"]) for row in rows] == photos


def test_a_null_struct_holds_no_photo(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary())])
    hidden = pa.StructArray.from_arrays([pa.array([b"0", b"1"])], ["bytes"], mask=pa.array([False, True])).cast(kind)
    pq.write_table(pa.table({"image": hidden}), tmp_path / "t.parquet")
    assert [row["data"] for row in rows_of(find_photos(str(tmp_path)))] == [b"0", None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bytes_column": "img.nope"}, r"no column img\.nope in .*a\.parquet \(--bytes-column\); it has img, num"),
        ({"bytes_column": "num"}, r"column num of .*a\.parquet \(--bytes-column\) holds int64, not encoded photos"),
        ({"bytes_column": "num.x"}, r"no column num\.x"),
        ({"uri_column": "uri"}, r"no column uri .*it has img, num"),
        ({"uri_column": "num"}, r"column num .*\(--uri-column\) holds int64, not text"),
        ({"bytes_column": "img.raw", "id_column": "meta.id"}, r"no column meta\.id .*\(--id-column\)"),
        ({"bytes_column": "img.raw", "id_column": "img"}, r"column img .*\(--id-column\) holds struct"),
        ({"bytes_column": "img.raw", "uri_column": "text"}, r"choose one of --uri-column and --bytes-column"),
        ({"bytes_column": "img.raw", "id_column": "text"}, None),
        ({"bytes_column": "late"}, r"no column late in .*b\.parquet"),
        ({}, r"--bytes-column or --uri-column"),
    ],
)
def test_columns_are_checked_in_every_file(tmp_path: Path, options: dict[str, str], message: str | None) -> None:
    common = {"img": [{"raw": b"1"}], "num": [1], "text": ["x"]}
    pq.write_table(
        pa.table(common | {"late": [b"1"]} if "late" in options.values() else common), tmp_path / "a.parquet"
    )
    pq.write_table(pa.table(common), tmp_path / "b.parquet")
    if message is None:
        assert find_photos(str(tmp_path), **options).count == 2  # type: ignore[union-attr]
        return
    with pytest.raises(QpertError, match=message):
        find_photos(str(tmp_path), **options)


def test_rows_without_an_id_or_a_place_are_rows_with_a_reason(tmp_path: Path) -> None:
    columns = {"jpg": [b"0", b"1", b"2"], "key": ["a", "b", None], "url": ["a.jpg", None, ""]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=2)
    rows = rows_of(find_photos(str(tmp_path), bytes_column="jpg", id_column="key"))
    assert [(row["image_id"], row["error"]) for row in rows] == [
        ("a", None),
        ("b", None),
        ("t.parquet#2", "no id in this row (key)"),
    ]
    listing = find_photos(str(tmp_path), uri_column="url")
    assert isinstance(listing, Listing)
    assert list(listing.pairs()) == [("a.jpg", f"{tmp_path}/a.jpg"), ("t.parquet#1", None), ("t.parquet#2", None)]
    keyed = find_photos(str(tmp_path), uri_column="url", id_column="key")
    assert isinstance(keyed, Listing)
    assert list(keyed.pairs()) == [("a", f"{tmp_path}/a.jpg"), ("b", None), ("t.parquet#2", None)]


def test_a_table_without_rows_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": pa.array([], pa.binary())}), tmp_path / "t.parquet")
    with pytest.raises(QpertError, match="names no photos: its Parquet has no rows"):
        find_photos(str(tmp_path))


def test_an_invalid_file_among_others_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no Parquet at all")
    with pytest.raises(QpertError, match=r"^not a Parquet file that can be read: .*a\.parquet"):
        find_photos(str(tmp_path))
    pq.write_table(pa.table({"jpg": [b"0"], "url": ["x.jpg"]}), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-50])
    found = find_photos(str(tmp_path))
    assert isinstance(found, Shards)
    assert found.count == 3
    rows = rows_of(found)
    assert [row["image_id"] for row in rows] == ["a.parquet", "b.parquet#0", "c.parquet"]
    assert [row["data"] for row in rows] == [None, b"0", None]
    assert [row["error"] is None for row in rows] == [False, True, False]
    assert [shard_ids(shard) for shard in found.shards] == [["a.parquet"], ["b.parquet#0"], ["c.parquet"]]
    listing = find_photos(str(tmp_path), uri_column="url")
    assert isinstance(listing, Listing)
    assert list(listing.pairs()) == [("a.parquet", None), ("x.jpg", f"{tmp_path}/x.jpg"), ("c.parquet", None)]


def test_a_file_that_is_damaged_inside_gives_every_row_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    photos = [bytes([at]) * 5000 for at in range(6)]
    pq.write_table(pa.table({"jpg": photos}), path, row_group_size=3, compression="none", use_dictionary=False)
    found = find_photos(str(path))
    damaged = bytearray(path.read_bytes())
    second = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    damaged[second : second + 40] = b"\xff" * 40
    path.write_bytes(damaged)
    rows = rows_of(found)
    assert [row["image_id"] for row in rows] == [f"t.parquet#{at}" for at in range(6)]
    assert [row["data"] for row in rows] == [*photos[:3], None, None, None]
    assert all(row["error"].startswith("not a Parquet file that can be read: ") for row in rows[3:])
    with pytest.raises(QpertError, match=r"^not a Parquet file that can be read: "):
        read_photo(rows[4]["uri"])


def test_a_file_that_states_more_rows_than_it_can_hold(tmp_path: Path) -> None:
    """A file of one kilobyte that would keep a run busy for hours."""
    pq.write_table(pa.table({"jpg": pa.nulls(3_000_000, pa.binary())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"jpg": [b"0"]}), tmp_path / "b.parquet")
    rows = rows_of(find_photos(str(tmp_path)))
    assert [row["image_id"] for row in rows] == ["a.parquet", "b.parquet#0"]
    assert "bytes for 3000000 rows" in rows[0]["error"]


def test_a_damaged_table_of_places_has_one_row_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    names = [f"{at}.jpg" for at in range(6)]
    pq.write_table(pa.table({"url": names}), path, row_group_size=3, compression="none", use_dictionary=False)
    damaged = bytearray(path.read_bytes())
    second = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    damaged[second : second + 20] = b"\xff" * 20
    path.write_bytes(damaged)
    listing = find_photos(str(path))
    assert isinstance(listing, Listing)
    assert list(listing.pairs()) == [*((name, f"{tmp_path}/{name}") for name in names[:3]), ("t.parquet#3", None)]


def test_no_flipped_bit_loses_a_row(tmp_path: Path) -> None:
    """Arrow does not report some kinds of damage, and returns fewer rows than the file states."""
    path = tmp_path / "t.parquet"
    columns = {"jpg": [bytes([at]) * 20 for at in range(4)], "url": [f"{at}" for at in range(4)]}
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False, write_statistics=False)
    whole = path.read_bytes()
    starts = [pq.read_metadata(path).row_group(0).column(at).data_page_offset for at in (0, 1)]
    silent = 0
    for place in (start + at for start in starts for at in range(10)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            rows = rows_of(find_photos(str(path), bytes_column="jpg"))
            assert [row["image_id"] for row in rows] == [f"t.parquet#{at}" for at in range(4)]
            silent += any("fewer rows than it states" in (row["error"] or "") for row in rows)
            listing = find_photos(str(path), uri_column="url")
            assert isinstance(listing, Listing)
            named = list(listing.pairs())
            assert len(named) == 4 or named[-1] == (f"t.parquet#{len(named) - 1}", None)
            with contextlib.suppress(QpertError):
                assert len(read_table(str(path))) == 4
    assert silent  # otherwise the test shows nothing


def test_single_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table({"jpg": [b"%d" % at for at in range(50)], "n": list(range(50))}), path, row_group_size=20)
    assert [read_row(path, "jpg", row) for row in (0, 19, 20, 49)] == [b"0", b"19", b"20", b"49"]
    for column, row, message in (("jpg", 50, "no such row"), ("n", 0, "holds int64"), ("x", 0, "no column x")):
        with pytest.raises(QpertError, match=message):
            read_row(path, column, row)
    with pytest.raises(QpertError, match=r"^file not found: "):
        read_row(str(tmp_path / "gone.parquet"), "jpg", 0)
