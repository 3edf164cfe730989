"""Captions in a custom table: CSV or TSV with a header, JSON lines, a JSON list of objects, or Parquet.

An image may have several rows, or a list of captions in one row (in CSV and TSV as a JSON list, `["one", "two"]`).
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.captions.delimited import Table, read_header, read_lines, read_rows
from pipeline.datasets.json_file import parse_json
from pipeline.datasets.text_file import open_text
from pipeline.errors import QpertError
from pipeline.io.parquet import open_table

MAX_LINE = 2**24
"""Characters in a line: enough for thousands of captions of one image."""
IMAGE_COLUMNS = ("file_name", "filename", "image", "filepath", "path", "image_name", "image_file", "image_id")
"""Usual names in order of preference: `image_id` is last, since it is a number in tables that also have a file name."""
CAPTION_COLUMNS = ("caption", "captions", "sentence", "text", "raw", "comment", "description", "extra_caption")
SPLIT_COLUMN = "split"

_PEEKED = 100
"""Lines of JSON in which columns are looked for."""
_ROWS = 16
"""Rows of a Parquet file that are read at once."""

Row = tuple[str, Mapping[str, Any]]
"""A row's place in the file, such as `line 7`, and its cells by column."""


def collect_table(
    into: CaptionCollector, form: str, split: str | None, image_column: str | None, caption_column: str | None
) -> None:
    """Collect the images of a table, merging rows of the same image; only those of `split` if it has such a column.

    Args:
        into: gathers the images.
        form: `delimited`, `lines` (JSON) or `parquet`.
        split: which rows to take; None for all.
        image_column: the column of file names, if unusual.
        caption_column: the column of captions, if unusual.

    Raises:
        QpertError: the table cannot be read or has no such columns or split; or in strict reading, a row is bad.
    """
    path = into.path
    try:
        if path.stat() and not path.is_file():
            raise QpertError(f"cannot read {path}: it is not a file")
        if form == "delimited":
            table = _text_table(path, image_column, caption_column, strict=into.bad.strict)
            columns = table.header
        else:
            columns = _columns(path, form, strict=into.bad.strict)
        image = _pick(path, columns, image_column, IMAGE_COLUMNS, "image")
        caption = _pick(path, columns, caption_column, CAPTION_COLUMNS, "caption")
        if form == "delimited":
            rows: Iterator[Row] = read_rows(table, into, caption, MAX_LINE)
        elif form == "lines":
            rows = _json_lines(into)
        else:
            rows = _parquet(path, [image, caption, *[SPLIT_COLUMN] * (split is not None and SPLIT_COLUMN in columns)])
        _collect_rows(rows, into, split if SPLIT_COLUMN in columns else None, image, caption)
    except OSError as error:
        raise QpertError(f"cannot read {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError, pa.ArrowException) as error:
        raise QpertError(f"cannot read the table {path}: {error}") from error


def find_columns(entries: Sequence[Any]) -> tuple[str, str] | None:
    """The columns of images and captions of a JSON list of objects; None if its objects have no such keys."""
    keys = list(dict.fromkeys(key for entry in entries[:_PEEKED] if isinstance(entry, dict) for key in entry))
    image, caption = _usual(keys, IMAGE_COLUMNS), _usual(keys, CAPTION_COLUMNS)
    return None if image is None or caption is None else (image, caption)


def collect_objects(
    entries: Sequence[Any], columns: tuple[str, str], into: CaptionCollector, split: str | None
) -> None:
    """Collect the images of a JSON list of objects as if each were a row.

    Raises:
        QpertError: none is of the split; or in strict reading, an entry is bad.
    """
    divided = any(isinstance(entry, dict) and SPLIT_COLUMN in entry for entry in entries[:_PEEKED])
    rows = _objects(((f"[{number}]", entry) for number, entry in enumerate(entries)), into)
    _collect_rows(rows, into, split if divided else None, *columns)


def _collect_rows(rows: Iterator[Row], into: CaptionCollector, split: str | None, image: str, caption: str) -> None:
    path = into.path
    splits: Counter[str] = Counter()
    for where, row in rows:
        with into.bad:
            if split is not None:
                splits[str(row.get(SPLIT_COLUMN))] += 1
                if row.get(SPLIT_COLUMN) != split:
                    continue
            for name in (image, caption):
                if name not in row:
                    raise QpertError(f"{path}: {where} has no {name}")
            image_id = into.add_image(_image(row[image], path, f"{where}, {image}"), where, merge=True)
            for text in _captions(row[caption], path, f"{where}, {caption}"):
                into.add_any_caption(image_id, text, f"{where}, {caption}")
    into.bad.check()
    if splits and not splits[split or ""]:
        known = ", ".join(f"{name} ({count})" for name, count in splits.items() if count)
        raise QpertError(f"{path} has no row in the split {split!r}; it has: {known}")


def has_columns(header: Sequence[str], image_column: str | None = None, caption_column: str | None = None) -> bool:
    """Whether a table with these columns has images and captions."""
    image = image_column in header if image_column else _usual(header, IMAGE_COLUMNS)
    caption = caption_column in header if caption_column else _usual(header, CAPTION_COLUMNS)
    return bool(image and caption)


def _text_table(path: Path, image_column: str | None, caption_column: str | None, *, strict: bool) -> Table:
    def found(header: Sequence[str]) -> bool:
        return has_columns(header, image_column, caption_column)

    return read_header(path, found, MAX_LINE, strict=strict)


def _columns(path: Path, form: str, *, strict: bool) -> Sequence[str]:
    """Columns that may hold file names or captions."""
    if form == "parquet":
        with open_table(str(path)) as table:
            return [field.name for field in table.schema_arrow if _usable(field.type)]
    keys: dict[str, None] = {}
    peek = CaptionCollector(path, strict=strict)
    for number, (_, row) in enumerate(_json_lines(peek)):
        with peek.bad:
            keys |= dict.fromkeys(row)
        if strict or number == _PEEKED:
            break
    peek.bad.check()
    return list(keys)


def _json_lines(into: CaptionCollector) -> Iterator[Row]:
    with open_text(into.path, strict=into.bad.strict) as file:
        for number, line in enumerate(read_lines(file, into.path, MAX_LINE), 1):
            if line.isspace():
                continue
            problem, row = "", None
            try:
                row = parse_json(line, strict=into.bad.strict)
            except (ValueError, RecursionError) as error:
                problem = f"is not valid JSON: {error}"
            if isinstance(row, dict):
                yield f"line {number}", row
                continue
            with into.bad:
                raise QpertError(f"{into.path}: line {number} {problem or 'is not a JSON object'}")


def _objects(rows: Iterator[tuple[str, Any]], into: CaptionCollector) -> Iterator[Row]:
    for where, row in rows:
        if isinstance(row, dict):
            yield where, row
            continue
        with into.bad:
            raise QpertError(f"{into.path}: {where} is not a JSON object")


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    number = 0
    with open_table(str(path)) as table:
        # Few rows at a time: through a dictionary, a few bytes can put the same long caption into every row.
        for batch in table.iter_batches(_ROWS, columns=list(columns)):
            batch.validate(full=True)  # an index beyond its dictionary would read foreign memory
            for row in batch.to_pylist():
                yield f"row {number}", row
                number += 1
        if number != table.metadata.num_rows:  # Arrow does not report every kind of damage
            raise QpertError(f"cannot read the table {path}: it has {number} of {table.metadata.num_rows} rows")


def _usable(kind: pa.DataType) -> bool:
    """Whether values are text, whole numbers or lists of them; data sets often keep the photos in a column `image`."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _usual(columns: Sequence[str], usual: Sequence[str]) -> str | None:
    """The first of the usual columns, whatever its case."""
    return next((column for name in usual for column in columns if column.lower() == name), None)


def _pick(path: Path, columns: Sequence[str], wanted: str | None, usual: Sequence[str], what: str) -> str:
    """The requested column, or else the first of the usual ones."""
    column = _usual(columns, usual) if not wanted else wanted if wanted in columns else None
    if column is None:
        missing = f"no column {wanted!r}" if wanted else f"no column for the {what} ({', '.join(usual)})"
        raise QpertError(f"{path} has {missing}; name it with {what}_column. It has: {', '.join(columns)[:300]}")
    return column


def _image(value: Any, path: Path, where: str) -> str:
    if not isinstance(value, int | str) or isinstance(value, bool) or value == "":
        raise QpertError(f"{path}: {where} names no image: {str(value)[:100]!r}")
    return str(value)


def _captions(value: Any, path: Path, where: str) -> list[Any]:
    """The captions in one cell; an empty cell is a blank caption."""
    if isinstance(value, str) and value.startswith(('["', "['")):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise QpertError(f'{path}: {where} looks like a list but is not a JSON list ["...", "..."]') from error
    return value if isinstance(value, list) else ["" if value is None else value]
