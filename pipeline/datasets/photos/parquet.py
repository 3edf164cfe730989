"""Parquet files that hold photos or name them: checking their columns, and reading their rows within limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.photos.photo_columns import (
    Columns,
    choose_columns,
    holds_places,
    is_binary,
    is_data,
    is_id,
    is_text,
    photo_of,
    type_of,
    values_of,
)
from pipeline.errors import QpertError
from pipeline.io.parquet import DamagedTable, open_table

MAX_TEXT = 65_536
"""Length of an id, path or URI; longer text is none of these."""
_ROWS, _PIECE = 2**20, 65_536
"""Rows of text decoded at once (many, since every batch copies the dictionary), and rows yielded at once."""
_FEW, _PER_BYTE = 10_000, 100
"""A file may always state `_FEW` rows, and `_PER_BYTE` more for each of its bytes: unique ids take some space."""
_AHEAD = 4 * 1024**2
"""Read-ahead in bytes for a column of which little is needed."""


def find_columns(files: Sequence[str], wanted: Columns) -> Columns:
    """Choose the columns of a Parquet source: the `wanted` ones, or else by the content of the first readable file.

    Raises:
        QpertError: both bytes and URIs are wanted, no file can be read, or no column looks like photos.
    """
    if wanted.data and wanted.uri:
        raise QpertError("choose one of --uri-column and --bytes-column: photos are read from one place")
    if wanted.data or wanted.uri:
        return wanted
    damaged: DamagedTable | None = None
    for file in files:
        try:
            with open_table(file, buffer_size=_AHEAD) as table:
                columns, names = choose_columns(table), table.schema_arrow.names
        except DamagedTable as error:
            damaged = damaged or error
            continue
        if not columns.data and not columns.uri:
            raise QpertError(
                f"{file} has no column that looks like photos; name one with --bytes-column or --uri-column"
                f" (columns: {', '.join(names)})"
            )
        return Columns(columns.data, columns.uri, wanted.id)
    raise damaged or QpertError("no Parquet files")


def row_groups(file: str, columns: Columns, size: int) -> list[int]:
    """Check that a file of `size` bytes has the `columns`, and return the number of rows of each row group.

    Raises:
        QpertError: a column is missing or has the wrong type.
        DamagedTable: the file cannot be read, or claims far more rows than it can hold.
    """
    with open_table(file) as table:
        _check(file, table, columns)
        rows = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    if sum(map(abs, rows)) > _FEW + size * _PER_BYTE or any(count < 0 for count in rows):
        raise DamagedTable(f"not a Parquet file that can be read: {file} (it has {size} bytes for {sum(rows)} rows)")
    return rows


def read_texts(file: str, columns: Sequence[str], groups: list[int] | None = None) -> Iterator[list[list[str | None]]]:
    """Yield columns of ids, paths or URIs of some row groups (None: all), a few thousand rows at a time.

    Numbers become text, and bytes are decoded as UTF-8. Values that are null, empty, longer than `MAX_TEXT` or not
    valid UTF-8 become None.

    Raises:
        DamagedTable: the file cannot be read, or breaks off.
    """
    known = list(dict.fromkeys(columns))
    # A few bytes can repeat one long text a million times, so texts stay dictionaries and are kept once. Arrow leaves
    # other types, such as numbers, as they are.
    with open_table(file, dictionaries=known) as table:
        for batch in table.iter_batches(_ROWS, groups, columns=known):
            texts = [_texts(values_of(batch, column)) for column in columns]
            for start in range(0, batch.num_rows, _PIECE):
                yield [values[start : start + _PIECE] for values in texts]


def read_photos(
    file: str, columns: Columns, group: int, max_bytes: int
) -> Iterator[tuple[bytes | None, str | None, str | None]]:
    """Yield for each row of a row group the encoded photo, the reason if it has none, and the place that it names.

    Raises:
        DamagedTable: the file cannot be read, or breaks off.
    """
    data, place = columns.data or "", columns.uri
    with open_table(file) as table:
        # One at a time: a few bytes can repeat the same large value in every row. Arrow's dictionaries hold it once,
        # but are copied for each batch.
        rows = 64 if pa.types.is_dictionary(type_of(table.schema_arrow, data) or pa.null()) else 1
        for batch in table.iter_batches(rows, [group], columns=[data, *([place] if place else [])]):
            places = _texts(values_of(batch, place)) if place else [None] * batch.num_rows
            for value, named in zip(values_of(batch, data), places, strict=True):
                yield (*photo_of(value, max_bytes), named)


def read_row(file: str, column: str, row: int, max_bytes: int = 1 << 30) -> bytes:
    """The encoded photo in one row of a file; only its row group is read, in pieces.

    Raises:
        QpertError: the file cannot be read, or does not have such a column, row or photo.
    """
    with open_table(file, buffer_size=_AHEAD) as table:
        _check(file, table, Columns(data=column))
        for group in range(table.num_row_groups):
            if row < table.metadata.row_group(group).num_rows:
                break
            row -= table.metadata.row_group(group).num_rows
        else:
            raise QpertError("no such row in the Parquet file")
        # One at a time as in `read_photos`, unless that would be slow.
        rows = 1 if table.metadata.row_group(group).num_rows <= 10_000 else 16
        for batch in table.iter_batches(rows, [group], columns=[column]):
            if row < batch.num_rows:
                photo, reason = photo_of(values_of(batch, column)[row], max_bytes)
                if photo is None:
                    raise QpertError(reason or "no bytes in this row")
                return photo
            row -= batch.num_rows
    raise QpertError("no such row in the Parquet file")


def _check(file: str, table: pq.ParquetFile, columns: Columns) -> None:
    schema = table.schema_arrow

    def is_place(kind: pa.DataType | None) -> bool:
        return is_text(kind) or (is_binary(kind) and holds_places(table, columns.uri or ""))

    rules: tuple[tuple[str, str | None, Callable[[pa.DataType | None], bool], str], ...] = (
        ("uri", columns.uri, is_place, "text"),
        ("bytes", columns.data, is_data, "encoded photos"),
        ("id", columns.id, is_id, "text or whole numbers"),
    )
    for option, column, fits, expected in rules:
        if column is None:
            continue
        kind = type_of(schema, column)
        if kind is None and schema.names.count(column) > 1:
            raise QpertError(f"{file} has several columns named {column}; rename them")
        if kind is None:
            raise QpertError(f"no column {column} in {file} (--{option}-column); it has {', '.join(schema.names)}")
        if not fits(kind):
            raise QpertError(f"column {column} of {file} (--{option}-column) holds {kind}, not {expected}")


def _texts(values: pa.Array) -> list[str | None]:
    if not isinstance(values, pa.DictionaryArray):
        # As bytes: text that is not valid would make the conversion fail for all rows at once.
        views = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
        return [_text(value) for value in values.cast(views.get(values.type, values.type)).to_pylist()]
    known = _texts(values.dictionary)
    return [None if index is None else known[index] for index in values.indices.to_pylist()]


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            return None
    text = "" if value is None else str(value)
    return text if text and len(text) <= MAX_TEXT else None
