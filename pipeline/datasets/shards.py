"""Files that hold many photos: webdataset tars, and Parquet with a column of bytes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import QpertError
from pipeline.storage import locate

PHOTO_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("uri", pa.string()), ("data", pa.large_binary()), ("error", pa.string())]
)
"""What reading gives, whatever the source: the encoded bytes, or null and the reason."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".heic", ".heif"),
)
"""Names that photos have. Formats that cannot be decoded are here too: their photos get a row that says so."""


@dataclass(frozen=True)
class Columns:
    """The columns of a Parquet source: of encoded photos, of their URIs, of ids."""

    data: str | None = None
    uri: str | None = None
    id: str | None = None


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


def parquet_columns(file: str, wanted: Columns) -> Columns:
    """Which columns of a Parquet source to use; when neither bytes nor URIs are `wanted` by name, look for them.

    Raises:
        QpertError: a named column is missing, or none looks like photos.
    """
    filesystem, inner = locate(file)
    schema = pq.read_schema(inner, filesystem=filesystem)
    for option, column in {"uri": wanted.uri, "bytes": wanted.data, "id": wanted.id}.items():
        if column is not None and column.partition(".")[0] not in schema.names:
            raise QpertError(f"{file} has no column {column} (--{option}-column); it has {', '.join(schema.names)}")
    if wanted.data or wanted.uri:
        return wanted
    data = next((field.name for field in schema if _is_bytes(field.type)), None)
    structs = (field for field in schema if pa.types.is_struct(field.type))
    data = data or next((f"{field.name}.bytes" for field in structs if field.type.get_field_index("bytes") >= 0), None)
    uri = next((name for name in ("uri", "url", "path", "file", "filename", "image") if name in schema.names), None)
    if not data and not uri:
        raise QpertError(
            f"{file} has no column that looks like photos; name one with --bytes-column or --uri-column"
            f" (columns: {', '.join(schema.names)})"
        )
    return Columns(data=data, uri=None if data else uri, id=wanted.id)


def parquet_shards(file: str, name: str, columns: Columns) -> Iterator[Shard]:
    """One shard per row group."""
    filesystem, inner = locate(file)
    metadata = pq.read_metadata(inner, filesystem=filesystem)
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        yield Shard("parquet", file, name, row_group=group, first_row=first, rows=rows, columns=columns)
        first += rows


def shard_ids(shard: Shard) -> list[str]:
    """The ids of a Parquet shard, without reading its photos."""
    if shard.columns is None or shard.columns.id is None:
        return [f"{shard.name}#{row}" for row in range(shard.first_row, shard.first_row + (shard.rows or 0))]
    filesystem, inner = locate(shard.path)
    with pq.ParquetFile(inner, filesystem=filesystem) as file:
        table = file.read_row_group(shard.row_group, columns=[shard.columns.id])
    return [str(each) for each in table[shard.columns.id].to_pylist()]


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
    waiting: list[tuple[str, str, bytes | None, str | None]] = []
    for index, photo in enumerate(photos):
        if limit is not None and index >= limit:
            break
        waiting.append(photo)
        if len(waiting) == rows:
            yield _table(waiting)
            waiting = []
    if waiting:
        yield _table(waiting)


def read_member(path: str, member: str) -> bytes:
    """One photo out of a shard: a member of a tar, or a row of a Parquet file with a bytes column."""
    filesystem, inner = locate(path)
    try:
        if path.lower().endswith(".parquet"):
            columns = parquet_columns(path, Columns())
            for shard in parquet_shards(path, "", columns):
                if shard.first_row <= int(member) < shard.first_row + (shard.rows or 0):
                    photos = list(_parquet_photos(shard, 256))
                    return photos[int(member) - shard.first_row][2] or b""
            raise QpertError("no such row")
        with filesystem.open_input_file(inner) as raw, tarfile.open(fileobj=raw) as archive:
            file = archive.extractfile(member)
            return file.read() if file else b""
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise QpertError(f"cannot read it from {path}: {error}") from error


class _Header(tarfile.TarInfo):
    """A member's header. tarfile takes a damaged one for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


def _tar_photos(shard: Shard) -> Iterator[tuple[str, str, bytes | None, str | None]]:
    filesystem, inner = locate(shard.path)
    seen: dict[str, int] = {}
    try:
        # Streamed, so that a tar in a bucket is read once from front to back; compression is found out by tarfile.
        with (
            filesystem.open_input_stream(inner, compression=None) as raw,
            tarfile.open(fileobj=raw, mode="r|*", tarinfo=_Header) as tar,
        ):
            for member in tar:
                if not member.isfile() or not member.name.lower().endswith(SUFFIXES):
                    continue
                file = tar.extractfile(member)
                count = seen[member.name] = seen.get(member.name, 0) + 1
                name = f"{shard.name}/{member.name}" + (f"#{count}" if count > 1 else "")
                yield name, f"{shard.path}#{member.name}", file.read() if file else b"", None
    except (OSError, EOFError, tarfile.TarError) as error:
        yield shard.name, shard.path, None, f"damaged archive: {type(error).__name__}"


def _parquet_photos(shard: Shard, rows: int) -> Iterator[tuple[str, str, bytes | None, str | None]]:
    assert shard.columns is not None
    assert shard.columns.data is not None
    data, name = shard.columns.data, shard.columns.id
    filesystem, inner = locate(shard.path)
    with pq.ParquetFile(inner, filesystem=filesystem) as file:
        row = shard.first_row
        for batch in file.iter_batches(rows, [shard.row_group], columns=[data] if name is None else [name, data]):
            outer, _, field = data.partition(".")
            column = batch.column(outer)
            photos = (column.field(field) if field else column).to_pylist()
            ids = batch.column(name).to_pylist() if name else [f"{shard.name}#{row + at}" for at in range(len(photos))]
            for at, (each, photo) in enumerate(zip(ids, photos, strict=True)):
                error = None if photo is not None else "no bytes in this row"
                yield str(each), f"{shard.path}#{row + at}", photo, error
            row += batch.num_rows


def _table(photos: list[tuple[str, str, bytes | None, str | None]]) -> pa.Table:
    columns = zip(*photos, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, PHOTO_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=PHOTO_SCHEMA)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
