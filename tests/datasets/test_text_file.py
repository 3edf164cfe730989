"""Text files in all encodings, plain and compressed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.datasets import text_file
from pipeline.datasets.text_file import open_text, plain_suffix, read_text
from pipeline.errors import QpertError

TEXT = "caption\r\nÜn\u00efcode \u661f\rlast\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_all_encodings_give_the_same_text(write: Callable[..., Path], encoding: str, packed: bool) -> None:
    data = TEXT.encode(encoding)
    path = write(gzip.compress(data) if packed else data)
    assert read_text(path) == TEXT
    with open_text(path) as file:
        assert list(file) == TEXT.splitlines(keepends=True)


def test_strict_reading_takes_utf_8_alone(write: Callable[..., Path]) -> None:
    assert read_text(write(gzip.compress(TEXT.encode("utf-8-sig"))), strict=True) == TEXT
    for data in (TEXT.encode("utf-16"), b"caf\xe9"):
        with pytest.raises(UnicodeDecodeError):
            read_text(write(data), strict=True)


def test_a_bad_byte_spoils_its_own_place_alone(write: Callable[..., Path]) -> None:
    assert read_text(write(b"caf\xe9\nok\n")) == "caf\udce9\nok\n"
    assert read_text(write("ok\n".encode("utf-16") + b"\n")) == "ok\n\ufffd"


@pytest.mark.parametrize("cut", [5, 12, 30])
def test_damaged_gzip_is_an_error(write: Callable[..., Path], cut: int) -> None:
    path = write(gzip.compress(TEXT.encode() * 100)[:-cut])
    with pytest.raises(QpertError, match=r"cannot read .*dataset\.json: damaged gzip"):
        read_text(path)


def test_gzip_that_unpacks_to_too_much_is_an_error(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "MAX_FILE_BYTES", 10_000)
    path = write(gzip.compress(b"x\n" * 1_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(QpertError, match="unpacks to more than 10000 bytes"):
        read_text(path)
    with pytest.raises(QpertError, match="unpacks to more than 10000 bytes"), open_text(path) as file:
        for _ in file:
            pass


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match=r"cannot read .*nowhere\.csv"):
        read_text(tmp_path / "nowhere.csv")
    with pytest.raises(QpertError, match="not a file"):
        read_text(tmp_path)


def test_the_suffix_before_gz_tells_the_form() -> None:
    assert [plain_suffix(Path(name)) for name in ("a.JSON", "a.csv.gz", "a.b.JsonL.GZ", "a.gz", "a")] == [
        ".json",
        ".csv",
        ".jsonl",
        "",
        "",
    ]
