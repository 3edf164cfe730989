"""Files that hold many photos: webdataset tars, and Parquet with a column of bytes."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal
from urllib.parse import quote, unquote

import pyarrow as pa

from pipeline.datasets.parquet import Columns, read_columns, read_row, row_groups
from pipeline.errors import QpertError
from pipeline.patience import transient
from pipeline.photo_state import PHOTO_STATE, digest_of
from pipeline.storage import as_uri, is_uri, locate, without_options

PHOTO_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("data", pa.large_binary()),
        ("error", pa.string()),
        *PHOTO_STATE,
    ]
)
"""What reading gives, whatever the source: the encoded bytes, or null and the reason."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".heic", ".heif"),
)
"""Names that photos have. Formats that cannot be decoded are here too: their photos get a row that says so."""

TARS = (".tar", ".tar.gz", ".tgz")
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)
_Photo = tuple[str, str, bytes | None, str | None]
"""The first columns of a row of `PHOTO_SCHEMA`."""


@dataclass(frozen=True)
class Shard:
    """One tar, or one row group of a Parquet file."""

    kind: Literal["tar", "parquet"]
    path: str
    name: str
    row_group: int = 0
    first_row: int = 0
    rows: int | None = None
    columns: Columns | None = None


def parquet_shards(file: str, name: str, columns: Columns) -> Iterator[Shard]:
    """One shard per row group of a file that has the `columns`."""
    first = 0
    for group, rows in enumerate(row_groups(file, columns)):
        yield Shard("parquet", file, name, row_group=group, first_row=first, rows=rows, columns=columns)
        first += rows


def shard_ids(shard: Shard) -> list[str]:
    """The ids of a Parquet shard, without reading its photos.

    Raises:
        QpertError: a row has none.
    """
    if shard.columns is None or shard.columns.id is None:
        return [f"{shard.name}#{row}" for row in range(shard.first_row, shard.first_row + (shard.rows or 0))]
    name = shard.columns.id
    ids = [
        each for (values,) in read_columns(shard.path, [name], groups=[shard.row_group]) for each in values.to_pylist()
    ]
    if None in ids:
        raise QpertError(f"{shard.path} has a row without {name}: row {shard.first_row + ids.index(None)}")
    return [str(each) for each in ids]


def count_photos(shard: Shard) -> int:
    """Photos in a shard; a tar is read for it."""
    if shard.rows is not None:
        return shard.rows
    return sum(1 for _ in _tar_photos(shard))


def read_shard(shard: Shard, rows: int, limit: int | None = None) -> Iterator[pa.Table]:
    """Tables of `PHOTO_SCHEMA` with at most `rows` photos each, at most `limit` in all.

    A shard that breaks off gives what it has, and one row more that carries the shard's own name and the reason.
    """
    photos = _tar_photos(shard) if shard.kind == "tar" else _parquet_photos(shard, rows)
    waiting: list[_Photo] = []
    for index, photo in enumerate(photos):
        if limit is not None and index >= limit:
            break
        waiting.append(photo)
        if len(waiting) == rows:
            yield _table(waiting)
            waiting = []
    if waiting:
        yield _table(waiting)


def holds_photos(path: str) -> bool:
    """Whether `path` is called like a tar or a Parquet file."""
    return without_options(path).lower().endswith((*TARS, ".parquet"))


def member_uri(path: str, name: str, number: int | None = None) -> str:
    """Where one photo of a shard is: the shard's URI, ``#``, and a tar's member or ``column;row`` of a Parquet file.

    Of several members of one name in a tar the second has ``;2`` behind its name, and so on.
    """
    return f"{as_uri(path)}#{quote(name)}" + ("" if number is None else f";{number}")


def read_member(path: str, member: str) -> bytes:
    """One photo out of the shard `path`, by what stands behind the ``#`` of its URI.

    Raises:
        QpertError: there is no such photo, or the shard cannot be read.
    """
    name, _, number = member.partition(";")
    name = unquote(name)
    if not number.isdecimal() and (number or not _is_tar(path)):
        raise QpertError(f"not a photo in a tar or Parquet file: {path}#{member}")
    return _tar_member(path, name, int(number or 1)) if _is_tar(path) else read_row(path, name, int(number))


def _tar_member(path: str, name: str, number: int) -> bytes:
    filesystem, inner = locate(path)
    try:
        with filesystem.open_input_file(inner) as raw, tarfile.open(fileobj=raw, tarinfo=_Header) as tar:
            found = (member for member in tar if member.isfile() and _name(member) == name)
            member = next(islice(found, number - 1, None), None)
            file = member and tar.extractfile(member)
            if not file:
                raise QpertError(f"not in the archive: {name}")
            return file.read()
    except FileNotFoundError:
        raise QpertError("file not found") from None
    except _DAMAGE as error:
        raise QpertError(f"damaged archive: {type(error).__name__}") from error


def _is_tar(path: str) -> bool:
    return without_options(path).lower().endswith(TARS)


class _Header(tarfile.TarInfo):
    """A member's header. tarfile takes a damaged one for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


def _tar_photos(shard: Shard) -> Iterator[_Photo]:
    filesystem, inner = locate(shard.path)
    seen: Counter[str] = Counter()
    try:
        # Streamed, so that a tar in a bucket is read once from front to back; compression is found out by tarfile.
        with (
            filesystem.open_input_stream(inner, compression=None) as raw,
            tarfile.open(fileobj=raw, mode="r|*", tarinfo=_Header) as tar,
        ):
            for member in tar:
                name = _name(member)
                if not member.isfile() or not name.lower().endswith(SUFFIXES):
                    continue
                file = tar.extractfile(member)
                seen[name] += 1
                count = seen[name] if seen[name] > 1 else None
                image_id = f"{shard.name}/{name}" + (f"#{count}" if count else "")
                yield image_id, member_uri(shard.path, name, count), file.read() if file else b"", None
    except _DAMAGE as error:
        if is_uri(shard.path) and transient(error):
            raise  # the storage is ill, not the archive: its other photos are not lost
        yield shard.name, shard.path, None, f"damaged archive: {type(error).__name__}"


def _name(member: tarfile.TarInfo) -> str:
    """The member's name; tars may hold some that are not UTF-8."""
    return member.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _parquet_photos(shard: Shard, rows: int) -> Iterator[_Photo]:
    assert shard.columns is not None
    assert shard.columns.data is not None
    column = shard.columns.data
    names = ((name, member_uri(shard.path, column, row)) for row, name in enumerate(shard_ids(shard), shard.first_row))
    try:
        for (photos,) in read_columns(shard.path, [column], groups=[shard.row_group], rows=rows):
            for photo, (name, uri) in zip(photos.to_pylist(), names, strict=False):
                yield name, uri, photo, None if photo is not None else "no bytes in this row"
    except QpertError as error:
        yield from ((name, uri, None, str(error)) for name, uri in names)


def _table(photos: list[_Photo]) -> pa.Table:
    ids, uris, data, errors = zip(*photos, strict=True)
    sizes = [None if photo is None else len(photo) for photo in data]
    digests = [None if photo is None else digest_of(photo) for photo in data]
    columns = (ids, uris, data, errors, sizes, [None] * len(photos), digests)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, PHOTO_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=PHOTO_SCHEMA)
