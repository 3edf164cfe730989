"""Text files of data sets, whatever their encoding, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from pipeline.errors import QpertError

MAX_FILE_BYTES = 2 * 1024**3
"""COCO's largest files have half a gigabyte; a larger file is not an annotation file."""

_GZIP = b"\x1f\x8b"
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Byte order marks; of two that begin alike, the longer one first."""


def plain_suffix(path: Path) -> str:
    """The suffix that tells the form, in lower case: `.json` of `captions.JSON` and of `captions.json.gz`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


@contextmanager
def open_text(path: Path, *, strict: bool = False) -> Iterator[TextIO]:
    """Open a file for reading as text; line breaks of all kinds end a line and are kept.

    Args:
        path: a file in UTF-8, in UTF-16, or in UTF-32 with a byte order mark; gzip is recognised by its first bytes.
        strict: only UTF-8 is accepted. Otherwise a byte that is not valid becomes a lone surrogate (or, in UTF-16 and
            UTF-32, a replacement character), so that only the entry that has it is lost.

    Raises:
        QpertError: the file cannot be read, is damaged, or unpacks to more than `MAX_FILE_BYTES`; also where that only
            shows within the context.
        UnicodeDecodeError: within the context, if `strict`.
    """
    try:
        if path.exists() and not path.is_file():
            raise QpertError(f"cannot read {path}: it is not a file")
        with path.open("rb") as file, _unpacked(file, path) as plain:
            encoding = "utf-8-sig" if strict else _encoding(plain)
            errors = "strict" if strict else ("surrogateescape" if encoding == "utf-8-sig" else "replace")
            yield io.TextIOWrapper(plain, encoding, errors, newline="")
    except gzip.BadGzipFile as error:
        raise QpertError(f"cannot read {path}: damaged gzip ({error})") from error
    except OSError as error:
        raise QpertError(f"cannot read {path}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise QpertError(f"cannot read {path}: damaged gzip ({error})") from error


def read_text(path: Path, *, strict: bool = False) -> str:
    """The content of a file of at most `MAX_FILE_BYTES`; see `open_text`.

    Raises:
        QpertError: it cannot be read, is damaged or too large.
        UnicodeDecodeError: it is not UTF-8, if `strict`.
    """
    with open_text(path, strict=strict) as file:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise QpertError(f"cannot read {path}: larger than {MAX_FILE_BYTES} bytes")
        return file.read()


@contextmanager
def _unpacked(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if not packed:
        yield file
        return
    with gzip.open(file) as unpacked:
        yield io.BufferedReader(_Limited(cast("IO[bytes]", unpacked), path))


class _Limited(io.RawIOBase):
    """A stream that ends with an error after `MAX_FILE_BYTES`: a megabyte of gzip may hold a gigabyte."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path, self._left = file, path, MAX_FILE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise QpertError(f"cannot read {self._path}: it unpacks to more than {MAX_FILE_BYTES} bytes")
        buffer[: len(data)] = data
        return len(data)


def _encoding(file: IO[bytes]) -> str:
    first = cast("io.BufferedReader", file).peek(4)[:4]
    for mark, encoding in _MARKS:
        if first.startswith(mark):
            return encoding
    if first[1:2] == b"\0":  # the first character of an annotation file is an ASCII one
        return "utf-16-le"
    return "utf-16-be" if first[:1] == b"\0" else "utf-8-sig"
