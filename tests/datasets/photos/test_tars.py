"""Ordinary, damaged and hostile tars."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.datasets.photos import tar_members, tar_stream, tars
from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import NOT_CHOSEN, SourceRules
from pipeline.datasets.photos.shard import Photo
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.source import find_photos
from pipeline.datasets.photos.tars import tar_photos, tar_shards
from pipeline.errors import QpertError

Member = tuple[str, bytes] | tarfile.TarInfo


def tar_of(members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def hard(name: str, target: str) -> tarfile.TarInfo:
    return special(name, tarfile.LNKTYPE, target)


def soft(name: str, target: str) -> tarfile.TarInfo:
    return special(name, tarfile.SYMTYPE, target)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header with arbitrary fields."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (
        b"\x80" + size.to_bytes(11, "big") if size >= 0 else b"\xff" + size.to_bytes(11, "big", signed=True)
    )
    return sealed(block)


def sealed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def read(path: Path, data: bytes, rules: SourceRules | None = None, skipped: Skipped | None = None) -> list[Photo]:
    path.write_bytes(data)
    return list(tar_photos(str(path), path.name, rules or SourceRules(), skipped))


def told(photos: Iterable[Photo]) -> dict[str, bytes | str | None]:
    """The data or the error of each photo, by the end of its id."""
    return {photo.image_id.removeprefix("t.tar/"): photo.error or photo.data for photo in photos}


def test_links_have_the_content_of_their_target(tmp_path: Path) -> None:
    members: list[Member] = [
        soft("early.jpg", "d/a.jpg"),
        ("d/a.jpg", b"A"),
        hard("hard.jpg", "d/a.jpg"),
        soft("d/up.jpg", "../hard.jpg"),
        ("./blob", b"B"),
        soft("named.jpg", "blob"),
        hard("text.txt", "blob"),
        soft("d", "elsewhere"),
    ]
    photos = read(tmp_path / "t.tar", tar_of(members))
    assert told(photos) == {"d/a.jpg": b"A", "early.jpg": b"A", "hard.jpg": b"A", "d/up.jpg": b"A", "named.jpg": b"B"}
    assert [read_photo(photo.uri) for photo in photos] == [photo.data for photo in photos]


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (soft("x.jpg", "/etc/hostname"), "link that leads out of the archive"),
        (soft("x.jpg", "../a.jpg"), "link that leads out of the archive"),
        (soft("d/x.jpg", "../../../etc/hostname"), "link that leads out of the archive"),
        (hard("x.jpg", "../../etc/hostname"), "link that leads out of the archive"),
        (soft("x.jpg", "gone.jpg"), "link to a file that is not in the archive"),
        (hard("x.jpg", "gone.jpg"), "link to a file that is not in the archive"),
        (soft("x.jpg", "x.jpg"), "link that leads in a circle"),
        (soft("x.jpg", "pipe"), "link to a file that is not in the archive"),
        (special("x.jpg", tarfile.FIFOTYPE), "a device or pipe, not a file"),
        (special("x.jpg", tarfile.CHRTYPE), "a device or pipe, not a file"),
    ],
)
def test_links_and_devices_without_a_photo_have_a_reason(tmp_path: Path, link: tarfile.TarInfo, reason: str) -> None:
    photos = read(tmp_path / "t.tar", tar_of([link, special("pipe", tarfile.FIFOTYPE), ("a.jpg", b"A")]))
    assert {name.rpartition("/")[2]: value for name, value in told(photos).items()} == {"x.jpg": reason, "a.jpg": b"A"}
    failed = next(photo for photo in photos if photo.error)
    with pytest.raises(QpertError):
        read_photo(failed.uri)


def test_chains_of_links_are_followed_up_to_the_limit_of_linux(tmp_path: Path) -> None:
    links = [soft(f"{number}.jpg", f"{number - 1}.jpg") for number in range(1, 60)]
    found = told(read(tmp_path / "t.tar", tar_of([("0.jpg", b"0"), *links])))
    assert found["39.jpg"] == b"0"
    assert found["59.jpg"] == "link that leads in a circle"


def test_links_of_a_truncated_tar_are_rows_once(tmp_path: Path) -> None:
    """The second reading also stops at the damage, after some of the links have their photo."""
    whole = tar_of([hard("x.jpg", "a.jpg"), ("a.jpg", b"A"), soft("y.jpg", "b.jpg"), soft("z.jpg", "a.jpg")])[:2560]
    found = read(tmp_path / "t.tar", whole + b"no header" * 57)
    assert sorted(photo.image_id for photo in found) == sorted({photo.image_id for photo in found})
    reasons = {
        "t.tar/a.jpg": None,
        "t.tar/x.jpg": "link in a damaged archive",
        "t.tar": "damaged archive: invalid header",
    }
    assert reasons.items() <= {photo.image_id: photo.error for photo in found}.items()


def test_a_failing_second_reading_repeats_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [("a.jpg", b"A"), ("b.jpg", b"B"), soft("x.jpg", "a.jpg"), soft("y.jpg", "b.jpg")]
    readings = []

    def stream(raw: pa.NativeFile) -> tar_stream.TarStream:
        readings.append(raw)
        if len(readings) == 2:  # the storage fails only this time
            raw = pa.BufferReader(raw.read(1100))
        return tar_stream.TarStream(raw)

    monkeypatch.setattr(tar_members, "TarStream", stream)
    found = read(tmp_path / "t.tar", tar_of(members))
    assert [photo.image_id for photo in found] == [f"t.tar/{name}.jpg" for name in "abxy"] + ["t.tar"]
    assert [photo.error is None for photo in found] == [True, True, True, False, False]


def test_links_beyond_the_limit_have_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_MAX_LINKS", 2)
    found = told(read(tmp_path / "t.tar", tar_of([("a.jpg", b"A"), *(soft(f"{n}.jpg", "a.jpg") for n in range(3))])))
    assert found == {"a.jpg": b"A", "0.jpg": b"A", "1.jpg": b"A", "2.jpg": "one of more than 2 links"}


def test_files_of_operating_systems_are_counted_not_read(tmp_path: Path) -> None:
    names = [
        "./._a.jpg",
        "a.jpg",
        "__MACOSX/b.jpg",
        ".hidden/c.jpg",
        "@eaDir/d.jpg",
        "e.txt",
        "f",
        "sub/g.JPG",
        "h.raw.jpg",
    ]
    skipped = Skipped()
    rules = SourceRules(include=("*.jpg", "*.JPG"), exclude=("*.raw.jpg",))
    photos = read(tmp_path / "t.tar", tar_of([(name, b"x") for name in names]), rules, skipped)
    assert list(told(photos)) == ["a.jpg", "sub/g.JPG"]
    assert sum(skipped.counts().values()) == 7
    assert skipped.counts()["not photos (.txt)"] == skipped.counts()[NOT_CHOSEN] == 1


def test_members_without_a_usual_ending_are_photos_if_they_begin_like_one(tmp_path: Path) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + bytes(20_000)
    names = ["v1.2/photo", "scan.jpg_large", "text.txt", "raw.cr2", "._x"]
    skipped = Skipped()
    rows = read(tmp_path / "t.tar", tar_of([*((name, jpeg) for name in names), ("blob", b"x" * 999)]), None, skipped)
    assert told(rows) == {"v1.2/photo": jpeg, "scan.jpg_large": jpeg}
    assert [read_photo(row.uri) for row in rows] == [jpeg, jpeg]
    assert skipped.counts() == {
        "not photos (.txt)": 1,
        "photos of a format that cannot be decoded (.cr2)": 1,
        "files of macOS": 1,
        "not photos (no ending)": 1,
    }


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (None, ["d/1.jpg", "d/1.mask.png", "d/1.JPEG", "2.jpg"]),
        ("jpg", ["d/1.jpg", "2.jpg"]),
        (".JPG", ["d/1.jpg", "2.jpg"]),
        ("jpg;jpeg", ["d/1.jpg", "d/1.JPEG", "2.jpg"]),
        ("mask.png", ["d/1.mask.png"]),
    ],
)
def test_which_image_of_a_key_is_the_photo(tmp_path: Path, key: str | None, names: list[str]) -> None:
    skipped = Skipped()
    data = tar_of([(name, b"x") for name in ("d/1.jpg", "d/1.mask.png", "d/1.JPEG", "d/1.json", "2.jpg")])
    assert list(told(read(tmp_path / "t.tar", data, SourceRules(image_key=key), skipped))) == names
    assert skipped.counts().get("other images of a key (--image-key)", 0) == 4 - len(names)


def test_several_images_of_a_key_cause_one_warning(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(tar_of([("1.jpg", b"x"), ("1.mask.png", b"x")]))
    with pytest.warns(
        UserWarning, match=r"a\.tar has several images .* 1\.jpg and 1\.mask\.png.*--image-key jpg"
    ) as caught:
        found = find_photos(str(tmp_path))
    assert len(caught) == 1
    assert isinstance(found, Shards)
    stat = (tmp_path / "a.tar").stat()
    assert (found.shards[0].size, found.shards[0].mtime.timestamp()) == (stat.st_size, pytest.approx(stat.st_mtime))
    tar_shards({"a.tar": str(tmp_path / "a.tar")}, SourceRules(image_key="jpg"))  # no warning


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, lambda data: pa.compress(data, "zstd", asbytes=True)]
)
def test_compression_is_recognised_by_content(tmp_path: Path, compress) -> None:
    data = compress(tar_of([("a.jpg", b"A" * 3000), ("b.jpg", b"B"), hard("c.jpg", "a.jpg")]))
    photos = read(tmp_path / "t.tar", data)
    assert told(photos) == {"a.jpg": b"A" * 3000, "b.jpg": b"B", "c.jpg": b"A" * 3000}
    assert read_photo(photos[1].uri) == b"B"
    assert read(tmp_path / "t.tar", data[: len(data) * 2 // 3])[-1].error.startswith("damaged archive: ")


def test_a_first_photo_with_the_name_of_a_compression_format(tmp_path: Path) -> None:
    assert told(read(tmp_path / "t.tar", tar_of([("BZh9.jpg", b"A")]))) == {"BZh9.jpg": b"A"}


def test_concatenated_archives(tmp_path: Path) -> None:
    one, two = tar_of([("a.jpg", b"A")]), tar_of([("b.jpg", b"B")])
    assert told(read(tmp_path / "t.tar", one + two)) == {"a.jpg": b"A", "b.jpg": b"B"}
    assert told(read(tmp_path / "t.tar", one + b"signature " * 100)) == {"a.jpg": b"A"}
    far = one + bytes(tar_stream.MAX_ZEROS + 10240) + two
    assert told(read(tmp_path / "t.tar", far)) == {"a.jpg": b"A"}


TERA = 3 * 2**40


def sparse_old(name: str, size: int) -> bytes:
    block = bytearray(header(name, 512, tarfile.GNUTYPE_SPARSE))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = b"\x80" + size.to_bytes(11, "big")
    return sealed(block) + bytes(512)


def sparse_pax(name: str, size: int, version: str) -> bytes:
    info = tarfile.TarInfo("GNUSparseFile.0/" + name)
    if version == "1.0":
        data = b"1\n0\n512\n".ljust(512, b"\0") + bytes(512)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)}
    else:
        data = bytes(512)
        info.pax_headers = {"GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,512"}
    info.pax_headers["GNU.sparse.name"] = name
    info.size = len(data)
    return info.tobuf(tarfile.PAX_FORMAT) + data


@pytest.mark.parametrize("version", ["old", "0.1", "1.0"])
@pytest.mark.parametrize(
    ("size", "reason"),
    [(TERA, f"file too large: {TERA} bytes"), (2**28, "a sparse file that is mostly holes"), (700, None)],
)
def test_sparse_files(tmp_path: Path, version: str, size: int, reason: str | None) -> None:
    member = sparse_old("s.jpg", size) if version == "old" else sparse_pax("s.jpg", size, version)
    photos = read(tmp_path / "t.tar", member + tar_of([("a.jpg", b"A")]))
    assert [photo.image_id for photo in photos] == ["t.tar/s.jpg", "t.tar/a.jpg"]
    assert photos[1].data == b"A"
    assert photos[0].data == bytes(700) if reason is None else (photos[0].error or "").startswith(reason)


def test_photos_beyond_the_size_limit_are_rows_with_a_reason(tmp_path: Path) -> None:
    data = tar_of([("a.jpg", b"x" * 100), ("b.jpg", b"x" * 101), hard("c.jpg", "b.jpg"), ("d.jpg", b"D")])
    found = told(read(tmp_path / "t.tar", data, SourceRules(max_bytes=100)))
    large = "file too large: 101 bytes, limit 100"
    assert found == {"a.jpg": b"x" * 100, "b.jpg": large, "c.jpg": large, "d.jpg": b"D"}


def pax(size: int, text: bytes = b"") -> bytes:
    return header("x", size, tarfile.XHDTYPE) + text


A = tar_of([("a.jpg", b"A")])[:1024]
HOSTILE = {
    "a name of 3 TB": header("././@LongLink", TERA, tarfile.GNUTYPE_LONGNAME),
    "a pax header of 2 GB": pax(2**31),
    "a pax header of 3 TB": pax(TERA, bytes(4096)),
    "a pax header of a negative size": pax(-512),
    "a negative size": header("b.jpg", -1024),
    "a size that nothing has": header("b.jpg", 2**80),
    "a size beyond the end": header("b.txt", 10**6),
    "headers in headers": pax(512, b"9 x=abcd\n".ljust(512, b"\0")) * 5000,
    "a record of length 0": pax(512, b"0 x=abcd\n".ljust(512, b"\0")),
    "a number of a million digits": pax(2**20, b"9" * 2**20),
    "a size that is no number": pax(512, b"12 size=-512\n".ljust(512, b"\0")) + header("b.jpg", 5) + bytes(512),
    "a map of sparse parts without end": sealed(
        bytearray(header("s.jpg", 512, tarfile.GNUTYPE_SPARSE))[:482] + b"\1" + bytes(29)
    )
    + (b"\1" * 504 + b"\1" * 8) * 5000,
    "a map of sparse parts that is cut off": sealed(
        bytearray(header("s.jpg", 512, tarfile.GNUTYPE_SPARSE))[:482] + b"\1" + bytes(29)
    ),
    "a map that is no number": sparse_pax("s.jpg", 700, "1.0").replace(b"1\n0\n512\n", b"x\n0\n512\n"),
    "a map of a number of 5000 digits": sparse_pax("s.jpg", 700, "1.0").replace(
        b"1\n0\n512\n".ljust(512, b"\0"), b"9" * 512
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_hostile_members_cost_only_the_rest_of_the_archive(tmp_path: Path, what: str, compress) -> None:
    photos = read(tmp_path / "t.tar", compress(A + HOSTILE[what] + A))
    assert photos[0] == Photo("t.tar/a.jpg", f"file://{tmp_path}/t.tar#a.jpg", b"A", None)
    assert photos[-1].error
    assert photos[-1].error.startswith(("damaged archive: ", "file too large: "))
    assert len(photos) <= 3


def test_an_endless_name_is_one_row(tmp_path: Path) -> None:
    photos = read(tmp_path / "t.tar", tar_of([("n" * 100_000 + ".jpg", b"x"), ("a.jpg", b"A")]))
    assert [photo.error for photo in photos] == ["name too long: 100004 characters, limit 4096", None]
    assert len(photos[0].image_id) < 4200


def test_a_decompression_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_stream, "_FREE", 2**22)
    data = gzip.compress(A + header("zeros.txt", 2**26) + bytes(2**26) + A)
    photos = read(tmp_path / "t.tar", data)
    assert [photo.error for photo in photos] == [None, "damaged archive: unpacks to more than 200 times its size"]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"no tar at all " * 100, b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\xff" * 600],
)
def test_invalid_tars_are_one_row_with_a_reason(tmp_path: Path, data: bytes) -> None:
    (photo,) = read(tmp_path / "t.tar", data)
    assert (photo.image_id, photo.data) == ("t.tar", None)
    assert photo.error
    assert photo.error.startswith("damaged archive: ")


def test_an_empty_archive_has_no_photos(tmp_path: Path) -> None:
    assert read(tmp_path / "t.tar", bytes(10240)) == []
