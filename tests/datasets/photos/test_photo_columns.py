"""Finding the column that holds photos by its content, and the reasons of rows without a photo."""

from __future__ import annotations

import base64
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.parquet import read_texts
from pipeline.datasets.photos.photo_columns import looks_like_photo
from pipeline.datasets.photos.reading import read_named, read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from tests.payloads import Touch


def encoded(kind: str, colour: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 9, 9)).save(file, kind)
    return file.getvalue()


PHOTOS = [encoded("JPEG"), encoded("PNG", 90), encoded("WEBP", 200)]
MD5 = [b"0123456789abcdef"] * 3


def table(folder: Path, columns: dict[str, Any], **options: Any) -> str:
    path = folder / "t.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def rows_of(source: str, rules: SourceRules | None = None, **options: str) -> list[dict[str, Any]]:
    photos = find_photos(source, **options)
    assert isinstance(photos, Shards)
    rules = rules or photos.rules

    def named(folder: str, text: str) -> tuple[str, bytes]:
        return read_named(folder, text, rules)

    tables = [read for shard in photos.shards for read in read_shard(shard, 2, rules=rules, named=named)]
    return [row for read in tables for row in read.to_pylist()]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF"])
def test_photos_are_recognised_by_their_first_bytes(kind: str) -> None:
    assert looks_like_photo(encoded(kind))
    assert not looks_like_photo(b"\0" + encoded(kind))


FORMS: dict[str, Callable[[list[bytes]], Any]] = {
    "binary": lambda photos: pa.array(photos, pa.binary()),
    "large": lambda photos: pa.array(photos, pa.large_binary()),
    "view": lambda photos: pa.array(photos, pa.binary_view()),
    "dictionary": lambda photos: pa.array(photos).dictionary_encode(),
    "list of bytes": lambda photos: pa.array([list(photo) for photo in photos], pa.list_(pa.uint8())),
    "large list": lambda photos: pa.array([list(photo) for photo in photos], pa.large_list(pa.uint8())),
    "base64": lambda photos: [base64.b64encode(photo).decode() for photo in photos],
    "base64 for URLs": lambda photos: [base64.urlsafe_b64encode(photo).decode().rstrip("=") for photo in photos],
    "data URI": lambda photos: ["data:image/jpeg;base64," + base64.encodebytes(photo).decode() for photo in photos],
    "struct": lambda photos: [{"path": "x", "bytes": photo} for photo in photos],
    "in a struct": lambda photos: [{"a": {"b": photo}} for photo in photos],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["jpg", "weird"])
def test_photos_are_found_in_any_type_of_column(tmp_path: Path, form: str, name: str) -> None:
    columns = {"md5": MD5, "url": ["a", "b", "c"], "text": ["/9j/", "abcd", "x"], "n": [1, 2, 3]}
    rows = rows_of(table(tmp_path, columns | {name: FORMS[form](PHOTOS)}, row_group_size=2))
    assert [row["data"] for row in rows] == PHOTOS
    assert [read_photo(row["uri"]) for row in rows] == PHOTOS


def test_photos_of_fixed_length(tmp_path: Path) -> None:
    longest = max(map(len, PHOTOS))
    photos = [photo.ljust(longest, b"\0") for photo in PHOTOS]
    assert [
        row["data"] for row in rows_of(table(tmp_path, {"md5": MD5, "x": pa.array(photos, pa.binary(longest))}))
    ] == photos


def test_text_may_be_stored_as_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "ä.jpg").write_bytes(PHOTOS[0])
    places = ["f/ä.jpg".encode(), b"file:///no/such/folder/with/a/long/name.jpg", None]
    for name in ("url", "image"):
        for form in (pa.array(places, pa.binary()), pa.array(places, pa.large_binary()).dictionary_encode()):
            for options in ({}, {"uri_column": name}):
                source = table(tmp_path, {"md5": MD5, "caption": ["x", "y", "z"], name: form})
                listing = find_photos(source, **options)
                assert isinstance(listing, Listing)
                (first, place), (second, _), (third, nothing) = listing.pairs()
                assert (first, second, third) == (
                    "f/ä.jpg",
                    "file:///no/such/folder/with/a/long/name.jpg",
                    "t.parquet#2",
                )
                assert nothing is None
                assert read_photo(place) == PHOTOS[0]
    struct = [{"bytes": None, "path": places[0]}, {"bytes": PHOTOS[1], "path": None}]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.binary())])
    rows = rows_of(table(tmp_path, {"image": pa.array(struct, kind)}))
    assert [row["data"] for row in rows] == PHOTOS[:2]
    with pytest.raises(QpertError, match=r"column jpg of .* \(--uri-column\) holds binary, not text"):
        find_photos(table(tmp_path, {"jpg": PHOTOS}), uri_column="jpg")


@pytest.mark.parametrize("source", ["", "/*.parquet", "/t.parquet"])
def test_patterns_choose_tables_and_their_rows(tmp_path: Path, source: str) -> None:
    table(tmp_path, {"url": ["f/a.jpg", "g/b.jpg", "https://h/c.png", None]})

    def chosen(*include: str, exclude: tuple[str, ...] = ()) -> list[str]:
        found = find_photos(f"{tmp_path}{source}", rules=SourceRules(include=include, exclude=exclude))
        assert isinstance(found, Listing)
        return [name for name, _ in found.pairs()]

    assert chosen("*.parquet") == ["f/a.jpg", "g/b.jpg", "https://h/c.png", "t.parquet#3"]
    assert chosen(exclude=("g", "*.png")) == ["f/a.jpg", "t.parquet#3"]
    if source == "/t.parquet":
        assert chosen("*.jpg") == ["f/a.jpg", "g/b.jpg", "t.parquet#3"]


@pytest.mark.parametrize(
    "name",
    [
        "url",
        "URL",
        "Url",
        "uri",
        "image_url",
        "IMAGE-URL",
        "img_url",
        "Image_Path",
        "filepath",
        "FilePath",
        "file_name",
        "image",
    ],
)
def test_places_are_found_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jpg").write_bytes(PHOTOS[0])
    columns = {"md5": MD5[:2], "TEXT": ["x", "y"], "phash": pa.array([b"1", b"2"]), name: ["a.jpg", "sub\\b.jpg"]}
    photos = find_photos(table(tmp_path, columns))
    assert isinstance(photos, Listing)
    assert list(photos.pairs()) == [("a.jpg", f"{tmp_path}/a.jpg"), ("sub\\b.jpg", f"{tmp_path}/sub/b.jpg")]


def test_the_thumbnail_is_not_the_photo(tmp_path: Path) -> None:
    columns = {"thumbnail": PHOTOS[::-1], "Image": PHOTOS, "mask": PHOTOS[::-1]}
    assert [row["data"] for row in rows_of(table(tmp_path, columns))] == PHOTOS


def test_null_bytes_are_read_from_the_path_beside_them(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(PHOTOS[1])
    image = [
        {"bytes": PHOTOS[0], "path": None},
        {"bytes": None, "path": "b.jpg"},
        {"bytes": None, "path": "gone.jpg"},
        {"bytes": None, "path": None},
        None,
        {"bytes": None, "path": "http://127.0.0.1:9/x.jpg"},
        {"bytes": b"", "path": "b.jpg"},
    ]
    rows = rows_of(table(tmp_path, {"image": image}))
    assert [row["data"] for row in rows] == [PHOTOS[0], PHOTOS[1], None, None, None, None, b""]
    assert [row["image_id"] for row in rows] == [f"t.parquet#{number}" for number in range(7)]
    assert [row["error"] for row in rows[2:5]] == ["file not found", "no bytes in this row", "no bytes in this row"]
    assert rows[5]["error"]
    assert read_photo(rows[1]["uri"]) == PHOTOS[1]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([b"k1", b"k2", b"k3"]), ["k1", "k2", "k3"]),
        (pa.array(["k1", "k2", "k3"]).dictionary_encode(), ["k1", "k2", "k3"]),
        (pa.array(["k1", "k2", "k3"], pa.string_view()), ["k1", "k2", "k3"]),
        (pa.array([1, 2**63 - 1, -1]), ["1", "9223372036854775807", "-1"]),
        (pa.array([1, 2, 2**64 - 1], pa.uint64()), ["1", "2", "18446744073709551615"]),
        (pa.array([b"k1", b"\xff", None]), ["k1", "t.parquet#1", "t.parquet#2"]),
        (pa.array(["", None, "k"]), ["t.parquet#0", "t.parquet#1", "k"]),
    ],
)
def test_ids(tmp_path: Path, ids: pa.Array, expected: list[str]) -> None:
    rows = rows_of(table(tmp_path, {"jpg": PHOTOS, "id": ids}), id_column="id")
    assert [row["image_id"] for row in rows] == expected
    assert [row["error"] for row in rows] == ["no id in this row (id)" if "#" in name else None for name in expected]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1.0, 2.0, 3.0]),
        pa.array([True, False, None]),
        pa.array([1, 2, 3]).cast(pa.timestamp("s")),
        pa.array([1, 2, 3]).cast(pa.decimal128(20)),
        pa.nulls(3),
        pa.array([[1], [2], [3]]),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_are_text_or_whole_numbers(tmp_path: Path, ids: pa.Array) -> None:
    with pytest.raises(QpertError, match=r"column id of .* \(--id-column\) holds .*, not text or whole numbers"):
        find_photos(table(tmp_path, {"jpg": PHOTOS, "id": ids}), id_column="id")


def test_two_columns_with_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(PHOTOS), pa.array(PHOTOS)], names=["jpg", "jpg"]), path)
    with pytest.raises(QpertError, match="no column that looks like photos"):
        find_photos(str(path))
    with pytest.raises(QpertError, match="several columns named jpg"):
        find_photos(str(path), bytes_column="jpg")


def test_rows_without_a_photo_have_a_reason(tmp_path: Path) -> None:
    path = table(tmp_path, {"x": ["!", None, base64.b64encode(PHOTOS[0]).decode()]})
    rows = rows_of(path, SourceRules(max_bytes=10), bytes_column="x")
    large = f"file too large: {len(base64.b64encode(PHOTOS[0])) * 3 // 4} bytes, limit 10"
    assert [row["error"] for row in rows] == ["text that is not base64", "no bytes in this row", large]
    listed = table(tmp_path, {"x": pa.array([[1, None], [2] * 11, [3]], pa.list_(pa.uint8()))})
    rows = rows_of(listed, SourceRules(max_bytes=10), bytes_column="x")
    reasons = ["null in a list of bytes", "file too large: 11 bytes, limit 10", None]
    assert [row["error"] for row in rows] == reasons
    with pytest.raises(QpertError, match="null in a list of bytes"):
        read_photo(rows[0]["uri"])


def test_a_long_text_repeated_a_million_times_through_a_dictionary(tmp_path: Path) -> None:
    """Two terabytes of ids, in a file of a few kilobytes."""
    ids = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 500_000, pa.int32()), pa.array(["x" * 4_000_000, "y" * 9]))
    path = table(tmp_path, {"id": ids}, store_schema=False, compression="zstd", write_statistics=False)
    assert Path(path).stat().st_size < 10_000
    texts = [text for (piece,) in read_texts(path, ["id"]) for text in piece]
    assert texts == [None, "y" * 9] * 500_000


@pytest.mark.parametrize("column", ["id", "jpg", "url", "other"])
def test_code_in_a_column_never_runs(tmp_path: Path, column: str) -> None:
    ran = tmp_path / "ran"
    program = pa.array([pickle.dumps(Touch(str(ran)))] * 3, pa.large_binary())
    columns = {"id": ["a", "b", "c"], "jpg": PHOTOS, "url": ["a", "b", "c"]}
    columns |= {column: pa.ExtensionArray.from_storage(ArrowPythonObjectType(), program)}
    path = table(tmp_path, columns)
    for options in ({}, {"id_column": "id"}, {"bytes_column": "jpg"}, {"uri_column": "url", "id_column": "id"}):
        with pytest.raises(QpertError, match=rf"column {column} is ray\.data\.arrow_pickled_object"):
            find_photos(path, **options)
    assert not ran.exists()
