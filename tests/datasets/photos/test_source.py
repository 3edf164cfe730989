from __future__ import annotations

import posixpath
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.io.locations import join


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a/1.PNG", "a/2.jpeg", ".hidden/x.jpg", "notes.md", "a/.thumb.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def pairs(photos: Listing | Shards, limit: int | None = None) -> list[tuple[str, str]]:
    assert isinstance(photos, Listing)
    return [(row["image_id"], row["uri"]) for batch in photos.batches(limit, rows=2) for row in batch.to_pylist()]


def test_a_folder_is_read_recursively_without_hidden_files(folder: Path) -> None:
    photos = find_photos(str(folder))
    assert photos.kind == "folder"
    assert pairs(photos) == [(name, f"{folder}/{name}") for name in ("a/1.PNG", "a/2.jpeg", "b.jpg")]
    assert pairs(photos, limit=1) == [("a/1.PNG", f"{folder}/a/1.PNG")]


def test_a_source_given_by_uri_yields_uris(folder: Path) -> None:
    photos = find_photos(f"file://{folder}")
    assert pairs(photos)[0] == ("a/1.PNG", f"file://{folder}/a/1.PNG")
    assert read_photo(f"file://{folder}/a/1.PNG") == b"a/1.PNG"


def test_a_pattern_and_a_single_file(folder: Path) -> None:
    photos = find_photos(f"{folder}/{{a,b}}/*.[jp]*g")
    assert photos.kind == "glob"
    assert pairs(photos) == [("a/2.jpeg", f"{folder}/a/2.jpeg")]
    assert pairs(find_photos(f"{folder}/a/1.PNG")) == [("1.PNG", f"{folder}/a/1.PNG")]


ODD = [
    "what?.jpg",
    "my photo.jpg",
    "é.jpg",
    "100%.jpg",
    "a%20b.jpg",
    "a#1.jpg",
    "x.tar#y.jpg",
    "[1]{a,b}.jpg",
    "~x.jpg",
]


@pytest.mark.parametrize("pattern", ["", "/sub folder", "/**/*.jpg", "/sub */*.jpg"])
def test_odd_names_are_read_back_by_path_and_by_uri(tmp_path: Path, pattern: str) -> None:
    for name in ODD:
        (tmp_path / "sub folder").mkdir(exist_ok=True)
        (tmp_path / "sub folder" / name).write_bytes(name.encode())
    for source in (str(tmp_path), f"file://{tmp_path}"):
        found = pairs(find_photos(source + pattern))
        prefix = "" if pattern == "/sub folder" else "sub folder/"
        assert sorted(name for name, _ in found) == sorted(prefix + name for name in ODD)
        assert [read_photo(uri) for _, uri in found] == [posixpath.basename(name).encode() for name, _ in found]
    for name in ODD:
        for source in (f"{tmp_path}/sub folder/{name}", join(f"file://{tmp_path}/sub folder", name)):
            ((found_name, uri),) = pairs(find_photos(source))
            assert (found_name, read_photo(uri)) == (name, name.encode())


def test_options_of_a_file_system_stay_at_the_end(folder: Path) -> None:
    (folder / "list.txt").write_text("a/1.PNG\n")
    for source in (f"file://{folder}/a?region=x", f"file://{folder}/a/*.PNG?region=x&endpoint_override=http://x:9000"):
        name, uri = pairs(find_photos(source))[0]
        assert (name, uri) == ("1.PNG", f"file://{folder}/a/1.PNG?{source.partition('?')[2]}")
        assert read_photo(uri) == b"a/1.PNG"
    assert pairs(find_photos(f"file://{folder}/list.txt?region=x")) == [
        ("a/1.PNG", f"file://{folder}/a/1.PNG?region=x")
    ]


def test_a_list_file_may_name_relative_and_absolute_paths(folder: Path) -> None:
    (folder / "list.txt").write_text(f"# photos\nb.jpg\n\n{folder}/a/1.PNG\ns3://bucket/c.jpg\n")
    photos = find_photos(str(folder / "list.txt"))
    assert pairs(photos) == [
        ("b.jpg", f"{folder}/b.jpg"),
        (f"{folder}/a/1.PNG", f"{folder}/a/1.PNG"),
        ("s3://bucket/c.jpg", "s3://bucket/c.jpg"),
    ]


def test_names_in_a_list_are_taken_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    lines = [" blank .jpg ", "./#2.jpg", "~/x.jpg", "~x.jpg", "a\u2028b.jpg", "s3://bucket/my photo.jpg"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(["\ufeff# photos", *lines, "  ", " # more"]).encode())
    found = pairs(find_photos(str(tmp_path / "list.txt")))
    assert [name for name, _ in found] == lines
    assert [uri for _, uri in found][:2] == [f"{tmp_path}/ blank .jpg ", f"{tmp_path}/./#2.jpg"]
    assert [uri for _, uri in found][2:4] == ["/home/someone/x.jpg", f"{tmp_path}/~x.jpg"]
    (tmp_path / "list.txt").write_bytes("a.jpg\né.jpg\n".encode("latin-1"))
    with pytest.raises(QpertError, match=r"list\.txt is not UTF-8 text: line 2"):
        find_photos(str(tmp_path / "list.txt"))


@pytest.mark.parametrize("source", ["photos", "photos/*.jpg", "list.txt", "photos/a.jpg"])
@pytest.mark.parametrize("option", ["uri_column", "bytes_column", "id_column"])
def test_column_options_are_for_parquet(tmp_path: Path, source: str, option: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    (tmp_path / "list.txt").write_text("photos/a.jpg")
    with pytest.raises(QpertError, match="are for Parquet, but"):
        find_photos(str(tmp_path / source), **{option: "nope"})


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "there is no"),
        ("nowhere/*.jpg", {}, "there is no folder"),
        ("empty", {}, "holds no photos"),
        ("empty/list.txt", {}, "names no photos"),
        ("empty/[1].jpg", {}, "holds no photos"),
        ("t.parquet", {"uri_column": "uri"}, "no column uri .*it has number"),
        ("t.parquet", {}, "--bytes-column or --uri-column"),
        ("martian://x/y", {}, "cannot open the URI: martian://x/y"),
    ],
)
def test_unusable_sources_are_errors_with_a_reason(
    tmp_path: Path, source: str, options: dict[str, str], message: str
) -> None:
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
        read_photo(str(tmp_path / "big.jpg"), SourceRules(max_bytes=4))
    with pytest.raises(QpertError, match=r"^cannot read the file: "):
        read_photo(str(tmp_path))
    with pytest.raises(QpertError, match=r"^not a file name: it contains a NUL"):
        read_photo("a\0b.jpg")
    with pytest.raises(QpertError, match=r"^scheme not allowed: martian"):
        read_photo("martian://x/y")


def test_own_output_is_never_input(tmp_path: Path, folder: Path) -> None:
    photos = folder / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"a")
    (photos / "out" / "features").mkdir(parents=True)
    (photos / "out" / "thumb.jpg").write_bytes(b"t")
    pq.write_table(pa.table({"jpg": [b"x"]}), photos / "out" / "features" / "x.parquet")
    (folder / "link").symlink_to(photos / "out")
    for out in (f"{photos}/out", f"file://{photos}/out", f"{folder}/link"):
        for source in (str(photos), f"file://{photos}", f"{photos}/**"):
            assert pairs(find_photos(source, out=out))[0][0] == "a.jpg"
            assert len(pairs(find_photos(source, out=out))) == 1
    for source in (str(photos / "out"), f"{photos}/out/*.jpg", f"{folder}/link"):
        with pytest.raises(QpertError, match=r"lies inside --out .*, whose content is never read"):
            find_photos(source, out=str(photos))
    chosen = SourceRules(include=("*.jpg",))
    found = find_photos(str(photos), rules=chosen, out=f"{photos}/ou")  # another folder whose name begins the same
    assert len(pairs(found)) == 2


def test_tables_and_tars_beside_their_output(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": [b"1", b"2"]}), tmp_path / "t.parquet")
    (tmp_path / "out" / "features").mkdir(parents=True)
    pq.write_table(pa.table({"embedding": [[1.0]], "jpg": [b"3"]}), tmp_path / "out" / "features" / "x.parquet")
    for pattern in ("", "/**/*.parquet"):
        found = find_photos(f"{tmp_path}{pattern}", out=str(tmp_path / "out"))
        assert isinstance(found, Shards)
        assert found.count == 2


def test_the_root_must_be_a_folder_that_contains_the_source(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(QpertError, match=r"--root /no/such is not a folder"):
        find_photos(str(folder), rules=SourceRules(root="/no/such"))
    with pytest.raises(QpertError, match=r"lies outside of --root"):
        find_photos(str(folder), rules=SourceRules(root=str(folder / "a")))
    found = find_photos(str(folder / "a"), rules=SourceRules(root=str(folder)))
    assert len(pairs(found)) == 2


def test_the_source_itself_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    found = find_photos(f"fsspec+file://{tmp_path}")
    ((_, uri),) = pairs(found)
    with pytest.raises(QpertError, match="scheme not allowed"):
        read_photo(uri)
    assert read_photo(uri, found.rules) == b"a"


def test_a_row_without_a_path_is_kept(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match=r"^no path or URI in this row"):
        read_photo(None)
