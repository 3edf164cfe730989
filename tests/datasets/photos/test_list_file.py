"""List files, as people and their tools write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.datasets.photos.found_photos import Listing
from pipeline.datasets.photos.list_file import MAX_LINE, place_of
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import SCHEMES, SourceRules
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError


@pytest.fixture
def listing(tmp_path: Path) -> object:
    """Writes lines to a list and finds its photos."""

    def find(*lines: str, **rules: object) -> Listing:
        (tmp_path / "list.txt").write_text("\n".join(lines))
        found = find_photos(str(tmp_path / "list.txt"), rules=SourceRules(**rules))  # type: ignore[arg-type]
        assert isinstance(found, Listing)
        return found

    return find


def test_one_bad_line_is_a_row_with_its_reason(tmp_path: Path, listing: object) -> None:
    (tmp_path / "good.jpg").write_bytes(b"photo")
    os.mkfifo(tmp_path / "pipe.jpg")
    lines = {
        "good.jpg": "photo",
        "gone.jpg": "file not found",
        "pipe.jpg": "cannot read the file: it is a named pipe",
        "/dev/zero": "cannot read the file: it is a device",
        "http://127.0.0.1/x.jpg": "scheme not allowed: http (--allow-scheme http)",
        "zip::file:///x": "chained URLs are not opened",
        "file:/x.jpg": "file: URIs must begin with file:///",
        "file://host/x.jpg": "file:// names another machine; write file:///path",
        "~root/x.jpg": "file not found",
        "x" * 5000: "cannot read the file: File name too long",
    }
    found = listing(*lines)  # type: ignore[operator]
    read = {}
    for name, uri in found.pairs():
        try:
            read[name] = read_photo(uri, found.rules).decode()
        except QpertError as error:
            read[name] = str(error)
    assert read == lines


def test_a_list_without_allowed_photos_is_an_error_with_advice(listing: object) -> None:
    with pytest.raises(
        QpertError, match=r"list\.txt names only photos that may not be opened: scheme .* \(--allow-scheme"
    ):
        listing("https://h/a.jpg", "https://h/b.jpg")  # type: ignore[operator]
    assert len(list(listing("https://h/a.jpg", schemes=(*SCHEMES, "https")).pairs())) == 1  # type: ignore[operator]
    assert len(list(listing("https://h/a.jpg", "b.jpg").pairs())) == 2  # type: ignore[operator]


def test_sizes_and_times_of_local_photos(tmp_path: Path, listing: object) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "a b.jpg", ns=(0, 1_700_000_000_000_001_000))
    uri = f"file://{tmp_path}/a%20b.jpg"
    found = listing("a b.jpg", uri, f"file://{tmp_path}/x.tar#a.jpg", "gone.jpg", "s3://b/c.jpg")  # type: ignore[operator]
    states = [(item.size, item.mtime) for item in found.items()]
    assert states == [(5, 1_700_000_000_000_001)] * 2 + [(None, None)] * 3
    (batch,) = found.batches()
    assert batch["mtime"].cast("int64").to_pylist() == [mtime for _, mtime in states]
    assert [item._asdict() for item in found.saved_items()] == [item._asdict() for item in found.items()]


def test_files_of_operating_systems_are_left_out_but_hidden_ones_are_not(listing: object) -> None:
    found = listing(
        ".hidden/a.jpg",
        "./._a.jpg",
        "/x/.cache/b.jpg",
        "s3://b/@eaDir/c.jpg",
        "../d.jpg",
        "raw/e.jpg",
        exclude=("raw",),
    )  # type: ignore[operator]
    assert [name for name, _ in found.pairs()] == [".hidden/a.jpg", "/x/.cache/b.jpg", "../d.jpg"]
    assert sum(found.skipped.counts().values()) == 3


def test_other_users_homes_and_chained_urls_are_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert place_of("/f", "~/a.jpg") == "/home/me/a.jpg"
    assert place_of("/f", "~root/a.jpg") == "/f/~root/a.jpg"
    assert place_of("s3://b/f", "a b.jpg") == "s3://b/f/a%20b.jpg"
    for text in ("zip::file:///x", "http://h/x", "file:/x"):
        assert place_of("/f", text) == text


def test_files_that_are_not_lists_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"a.jpg\n" + os.urandom(4) + b"\xff\n")
    with pytest.raises(QpertError, match=r"is not UTF-8 text: line 2"):
        find_photos(str(tmp_path / "binary.txt"))
    (tmp_path / "long.txt").write_bytes(b"x" * (MAX_LINE + 1))
    with pytest.raises(QpertError, match=r"line 1 is longer than 65,536 bytes"):
        find_photos(str(tmp_path / "long.txt"))
    (tmp_path / "cut.txt").write_bytes("a.jpg\né".encode()[:-1])
    with pytest.raises(QpertError, match=r"is not UTF-8 text: line 2"):
        find_photos(str(tmp_path / "cut.txt"))
    os.mkfifo(tmp_path / "pipe.txt")
    for place in (str(tmp_path / "pipe.txt"), "/dev/zero", "/dev/null"):
        with pytest.raises(QpertError, match="neither a file nor a folder but a named pipe, a socket or a device"):
            find_photos(place)


def test_a_list_whose_bucket_does_not_answer_is_said_at_once_and_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (tmp_path / "photos.txt").write_text("s3://nowhere/a.jpg\nb.jpg\n")
    photos = find_photos(str(tmp_path / "photos.txt"))
    assert isinstance(photos, Listing)
    assert [item.image_id for item in photos.items()] == ["s3://nowhere/a.jpg", "b.jpg"]
    assert "no answer from bucket nowhere at http://127.0.0.1:9" in caplog.text
