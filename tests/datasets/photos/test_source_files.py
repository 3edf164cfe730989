"""Sorting the files of a source by kind, and reporting those that are left out."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.datasets.photos.formats import ending, file_kind, is_image
from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError


def photo(form: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, form)
    return buffer.getvalue()


def write_tar(path: Path, *names: str) -> None:
    with tarfile.open(path, "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(photo())
            tar.addfile(info, io.BytesIO(photo()))


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Path]:
    """Makes files below tmp_path: photos, tars with one photo, tables with photos and without."""

    def fill(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".tar"):
                write_tar(path, "a.jpg")
            elif name.endswith("captions.parquet"):
                pq.write_table(pa.table({"file_name": ["a.jpg"], "caption": ["a"]}), path)
            elif name.endswith(".parquet"):
                pq.write_table(pa.table({"jpg": [photo()]}), path)
            else:
                path.write_bytes(photo())
        return tmp_path

    return fill


def names_of(found: Listing | Shards) -> list[str]:
    if isinstance(found, Shards):
        return [shard.name for shard in found.shards]
    return [name for name, _ in found.pairs()]


def test_every_file_is_a_photo_or_counted(fill: Callable[..., Path]) -> None:
    root = fill("a.jpg", "B.JPEG")
    for name, data in {
        "notes.txt": b"a",
        "more.TXT": b"b",
        "paper.pdf": b"%PDF",
        "raw.CR2": b"II*\0",
        "logo.svg": b"<svg>",
        "scan.jpg_large": photo(),
        "noending": photo("PNG"),
        "x.unknown": photo("BMP"),
        "y.unknown": b"BMW is a car",
        "Makefile": b"all:",
        "readme.unknown": b"P5 is a name",
        ".hidden.jpg": photo(),
        "film.mov": b"\0\0\0\x14ftypqt",
    }.items():
        (root / name).write_bytes(data)
    found = find_photos(str(root))
    assert names_of(found) == ["B.JPEG", "a.jpg", "noending", "scan.jpg_large", "x.unknown"]
    assert found.skipped.counts() == {
        "not photos (.txt)": 2,
        "not photos (.pdf)": 1,
        "not photos (.mov)": 1,
        "not photos (.unknown)": 2,
        "not photos (no ending)": 1,
        "photos of a format that cannot be decoded (.cr2)": 1,
        "photos of a format that cannot be decoded (.svg)": 1,
        "hidden": 1,
    }
    assert len(names_of(found)) + sum(found.skipped.counts().values()) == len(list(root.iterdir()))


def test_repeated_listing_counts_files_once(fill: Callable[..., Path]) -> None:
    root = fill("a.jpg")
    (root / "b.txt").write_bytes(b"b")
    found = find_photos(str(root))
    for _ in range(3):
        assert names_of(found) == ["a.jpg"]
        assert found.skipped.counts() == {"not photos (.txt)": 1}


def test_a_single_file_follows_the_same_rules(fill: Callable[..., Path]) -> None:
    root = fill(".hidden", "scan", "notes.dat")
    (root / "notes.dat").write_bytes(b"no photo")
    for name in (".hidden", "scan"):  # a file that the user names is read
        assert names_of(find_photos(str(root / name), rules=SourceRules(exclude=("*",)))) == [name]
    with pytest.raises(QpertError, match=r"holds no photos, .*left out:\n +1 not photos \(.dat\): notes\.dat"):
        find_photos(str(root / "notes.dat"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0.tar", "1.tar", "preview.jpg"], r"1 photos \(preview\.jpg\) and 2 tars \(0\.tar, 1\.tar\);"),
        (["a.jpg", "b.jpg", "z.tar"], r"2 photos \(a\.jpg, \.\.\.\) and 1 tars \(z\.tar\);"),
        (["in/a.jpg", "t.parquet"], r"1 photos \(in/a\.jpg\) and 1 Parquet files with photos \(t\.parquet\);"),
        (["0.tar", "t.parquet"], r"1 tars \(0\.tar\) and 1 Parquet files with photos \(t\.parquet\);"),
        ([*(f"{n}.tar" for n in range(5)), "a.jpg"], r"5 tars \(0\.tar, 1\.tar, 2\.tar, \.\.\.\);"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_several_kinds_are_refused_and_named(
    fill: Callable[..., Path], names: list[str], message: str, scheme: str
) -> None:
    with pytest.raises(QpertError, match=message) as caught:
        find_photos(f"{scheme}{fill(*names)}")
    assert "--include" in str(caught.value)


def test_one_kind_can_be_chosen(fill: Callable[..., Path]) -> None:
    root = str(fill("0.tar", "1.tar", "a.jpg", "t.parquet"))
    tars = find_photos(root, rules=SourceRules(include=("*.tar",)))
    assert (tars.kind, names_of(tars)) == ("webdataset", ["0.tar", "1.tar"])
    assert tars.skipped.counts() == {"not chosen by --include and --exclude": 2}
    photos = find_photos(root, rules=SourceRules(exclude=("*.tar", "*.parquet")))
    assert (photos.kind, names_of(photos)) == ("folder", ["a.jpg"])
    assert names_of(find_photos(f"{root}/*.parquet")) == ["t.parquet"]
    keyed = find_photos(root, rules=SourceRules(image_key="jpg", exclude=("*.parquet",)))
    assert (names_of(keyed), keyed.skipped.counts()["photos beside what --image-key chooses"]) == (
        ["0.tar", "1.tar"],
        1,
    )
    named = find_photos(root, bytes_column="jpg")
    assert (named.kind, named.skipped.counts()["tars beside the Parquet files"]) == ("parquet of bytes", 2)


def test_tables_of_metadata_do_not_count_as_a_kind(fill: Callable[..., Path]) -> None:
    root = fill("0.tar", "1.tar", "0.parquet", "captions.parquet")
    found = find_photos(str(root))
    assert (found.kind, names_of(found)) == ("webdataset", ["0.tar", "1.tar"])
    assert found.skipped.counts() == {"Parquet files without photos": 2}
    beside = find_photos(str(fill("photos/a.jpg", "photos/captions.parquet") / "photos"))
    assert (names_of(beside), beside.skipped.counts()) == (["a.jpg"], {"Parquet files without photos": 1})


def test_patterns_choose_files_or_else_photos_in_tars(fill: Callable[..., Path]) -> None:
    root = fill("2023/a.jpg", "2024/b.jpg", "2024/raw/c.jpg", "2024/d.png")

    def chosen(*include: str, exclude: tuple[str, ...] = ()) -> list[str]:
        return names_of(find_photos(str(root), rules=SourceRules(include=include, exclude=exclude)))

    assert chosen("*.jpg") == ["2023/a.jpg", "2024/b.jpg", "2024/raw/c.jpg"]
    assert chosen("2024") == chosen("2024/**") == chosen("2024/") == ["2024/b.jpg", "2024/d.png", "2024/raw/c.jpg"]
    assert chosen("2024/*.jpg") == ["2024/b.jpg"]
    assert chosen("2024", exclude=("raw", "*.png")) == ["2024/b.jpg"]
    assert chosen("{2023,raw}", "d.*") == ["2023/a.jpg", "2024/d.png", "2024/raw/c.jpg"]
    with pytest.raises(QpertError, match=r"left out:\n +4 not chosen by --include and --exclude"):
        chosen("*.gif")
    shards = fill("shards/0.tar", "shards/1.tar") / "shards"
    inner = find_photos(str(shards), rules=SourceRules(include=("a.*",)))
    assert names_of(inner) == ["0.tar", "1.tar"]  # the pattern chooses among their photos
    assert names_of(find_photos(str(shards), rules=SourceRules(include=("0.tar",)))) == ["0.tar"]


def test_linked_tars_outside_of_the_root_are_left_out(fill: Callable[..., Path]) -> None:
    root = fill("root/0.tar", "secret.tar") / "root"
    (root / "1.tar").symlink_to("../secret.tar")
    (root / "2.tar").symlink_to("0.tar")
    found = find_photos(str(root), rules=SourceRules(root=str(root)))
    assert names_of(found) == ["0.tar", "2.tar"]
    assert found.skipped.counts() == {"tars and Parquet files outside of --root": 1}


@pytest.mark.parametrize(
    ("form", "expected"),
    [(form, True) for form in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF")],
)
def test_first_bytes_of_photos(form: str, expected: bool) -> None:
    assert is_image(photo(form)[:32]) is expected


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM",
        b"BMW drives",
        b"%PDF-1.4",
        b"RIFF\0\0\0\0WAVE",
        b"PK\x03\x04",
        b"P1 is",
        b"\xff\xfe",
        b"\0" * 32,
        b"MM",
    ],
)
def test_first_bytes_of_other_files(head: bytes) -> None:
    assert not is_image(head)


def test_kinds_by_name() -> None:
    names = ("a.JPG", "a.TAR", "a.tar.gz", "a.parquet", "a.NEF", "a.json", "a.jpg_large", "jpg", "a.")
    kinds = [file_kind(name) for name in names]
    assert kinds == ["photo", "tar", "tar", "table", "undecodable", "other", "unknown", "unknown", "unknown"]
    assert [ending(name) for name in ("a.B", "a", ".a", "a.", "x." + "y" * 99)][:4] == [" (.b)", *[" (no ending)"] * 3]
