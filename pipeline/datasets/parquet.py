"""Parquet that holds photos or names them: its columns found and checked, its rows read.

A column is named by its name, or by a path such as ``image.bytes`` that reaches into a struct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import QpertError
from pipeline.storage import locate

_URI_COLUMNS = ("uri", "url", "path", "file", "filename", "image")


@dataclass(frozen=True)
class Columns:
    """The columns of a Parquet source: of encoded photos, of their URIs, of ids."""

    data: str | None = None
    uri: str | None = None
    id: str | None = None


def find_columns(file: str, wanted: Columns) -> Columns:
    """Which columns of a Parquet source to use; when neither bytes nor URIs are `wanted` by name, look for them.

    Raises:
        QpertError: bytes and URIs are wanted at once, the file cannot be read, or no column looks like photos.
    """
    if wanted.data and wanted.uri:
        raise QpertError("choose one of --uri-column and --bytes-column: photos are read from one place")
    if wanted.data or wanted.uri:
        return wanted
    with _opened(file) as table:
        schema = table.schema_arrow
    data = next((field.name for field in schema if _is_bytes(field.type)), None)
    inside = (f"{field.name}.bytes" for field in schema)
    data = data or next((path for path in inside if _is_bytes(_type_of(schema, path))), None)
    uri = next((name for name in _URI_COLUMNS if _is_text(_type_of(schema, name))), None)
    if not data and not uri:
        raise QpertError(
            f"{file} has no column that looks like photos; name one with --bytes-column or --uri-column"
            f" (columns: {', '.join(schema.names)})"
        )
    return Columns(data=data, uri=None if data else uri, id=wanted.id)


def row_groups(file: str, columns: Columns) -> list[int]:
    """Rows of each row group of a file that has the `columns`.

    Raises:
        QpertError: it lacks one, one holds something else than it should, or the file cannot be read.
    """
    with _opened(file) as table:
        _check(file, table.schema_arrow, columns)
        return [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]


def read_columns(
    file: str, columns: Sequence[str], *, groups: list[int] | None = None, rows: int = 65536
) -> Iterator[list[pa.Array]]:
    """The `columns` of some row groups (None: all), at most `rows` rows at a time.

    Raises:
        QpertError: the file cannot be read, or breaks off.
    """
    with _opened(file) as table:
        for batch in table.iter_batches(rows, groups, columns=list(dict.fromkeys(columns))):
            yield [_values(batch, column) for column in columns]


def read_row(file: str, column: str, row: int) -> bytes:
    """The encoded photo in one row of a file; no more than its row group is read, and that piece by piece.

    Raises:
        QpertError: there is no such row or column, or the file cannot be read.
    """
    with _opened(file, buffer_size=4 * 1024**2) as table:
        _check(file, table.schema_arrow, Columns(data=column))
        for group in range(table.num_row_groups):
            if row < table.metadata.row_group(group).num_rows:
                break
            row -= table.metadata.row_group(group).num_rows
        else:
            raise QpertError("no such row in the Parquet file")
        for batch in table.iter_batches(16, [group], columns=[column]):
            if row < batch.num_rows:
                return _values(batch, column)[row].as_py() or b""
            row -= batch.num_rows
    raise QpertError("no such row in the Parquet file")


@contextmanager
def _opened(file: str, buffer_size: int = 0) -> Iterator[pq.ParquetFile]:
    filesystem, inner = locate(file)
    try:
        with pq.ParquetFile(inner, filesystem=filesystem, buffer_size=buffer_size) as table:
            yield table
    except FileNotFoundError:
        raise QpertError(f"file not found: {file}") from None
    except (OSError, pa.ArrowException) as error:
        raise QpertError(f"not a Parquet file that can be read: {file} ({error})") from error


def _check(file: str, schema: pa.Schema, columns: Columns) -> None:
    rules: tuple[tuple[str, str | None, Callable[[pa.DataType | None], bool], str], ...] = (
        ("uri", columns.uri, _is_text, "text"),
        ("bytes", columns.data, _is_bytes, "encoded photos"),
        ("id", columns.id, lambda kind: not pa.types.is_nested(kind), "text or numbers"),
    )
    for option, column, fits, expected in rules:
        if column is None:
            continue
        kind = _type_of(schema, column)
        if kind is None:
            raise QpertError(f"no column {column} in {file} (--{option}-column); it has {', '.join(schema.names)}")
        if not fits(kind):
            raise QpertError(f"column {column} of {file} (--{option}-column) holds {kind}, not {expected}")


def _type_of(schema: pa.Schema, column: str) -> pa.DataType | None:
    if column in schema.names:
        return schema.field(column).type
    outer, *inner = column.split(".")
    kind = schema.field(outer).type if outer in schema.names else None
    for name in inner:
        if kind is None or not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def _values(batch: pa.RecordBatch, column: str) -> pa.Array:
    if column in batch.schema.names:
        return batch.column(column)
    outer, *inner = column.split(".")
    return pc.struct_field(batch.column(outer), inner)


def _is_bytes(kind: pa.DataType | None) -> bool:
    return kind is not None and bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    )


def _is_text(kind: pa.DataType | None) -> bool:
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind is not None and bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
