"""Captions in a custom table: CSV or TSV with a header, JSON lines, or Parquet.

An image may have several rows, or a list of captions in one row (in CSV and TSV as a JSON list, `["one", "two"]`).
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.json_file import object_of_unique_keys
from pipeline.errors import QpertError
from pipeline.io.parquet import open_table

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

MAX_LINE = 2**24
"""Characters in a line: enough for thousands of captions of one image."""
IMAGE_COLUMNS = ("file_name", "filename", "image", "filepath", "path", "image_id")
"""Usual names in order of preference: `image_id` is last, since it is a number in tables that also have a file name."""
CAPTION_COLUMNS = ("caption", "captions", "sentence", "text", "raw")
SPLIT_COLUMN = "split"

_ROWS = 16
"""Rows of a Parquet file that are read at once."""

Row = tuple[str, Mapping[str, Any]]
"""A row's place in the file, such as `line 7`, and its cells by column."""


def collect_table(
    into: CaptionCollector, split: str | None, image_column: str | None, caption_column: str | None
) -> None:
    """Collect the images of a table, merging rows of the same image; only those of `split` if it has such a column.

    Raises:
        QpertError: the table cannot be read or has no such columns or split, or a row lacks a cell.
    """
    path = into.path
    splits: Counter[str] = Counter()
    try:
        if path.stat() and not path.is_file():
            raise QpertError(f"cannot read {path}: it is not a file")
        columns = _columns(path)
        image = _pick(path, columns, image_column, IMAGE_COLUMNS, "image")
        caption = _pick(path, columns, caption_column, CAPTION_COLUMNS, "caption")
        divided = split is not None and SPLIT_COLUMN in columns
        for where, row in _rows(path, [image, caption, *[SPLIT_COLUMN] * divided]):
            if divided:
                splits[str(row.get(SPLIT_COLUMN))] += 1
                if row.get(SPLIT_COLUMN) != split:
                    continue
            for name in (image, caption):
                if name not in row:
                    raise QpertError(f"{path}: {where} has no {name}")
            image_id = into.add_image(_image(row[image], path, f"{where}, {image}"), where, merge=True)
            for text in _captions(row[caption], path, f"{where}, {caption}"):
                into.add_caption(image_id, text, f"{where}, {caption}")
    except OSError as error:
        raise QpertError(f"cannot read {path}: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError, pa.ArrowException) as error:
        raise QpertError(f"cannot read the table {path}: {error}") from error
    if splits and not splits[split or ""]:
        known = ", ".join(f"{name} ({count})" for name, count in splits.items() if count)
        raise QpertError(f"{path} has no row in the split {split!r}; it has: {known}")


def _columns(path: Path) -> Sequence[str]:
    """Columns that may hold file names or captions."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        with open_table(str(path)) as table:
            return [field.name for field in table.schema_arrow if _usable(field.type)]
    if kind in (".jsonl", ".ndjson"):
        _, first = next(_json_lines(path), ("", {}))
        return list(first)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header: list[str] = next(_read_delimited(file, path, kind), [])
    if len(set(header)) < len(header):
        raise QpertError(f"{path} has two columns named {Counter(header).most_common(1)[0][0]!r}")
    return header


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _parquet(path, columns)
    return _json_lines(path) if kind in (".jsonl", ".ndjson") else _delimited(path, kind)


def _delimited(path: Path, kind: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = _read_delimited(file, path, kind)
        header = next(reader)
        line = reader.line_num + 1
        try:
            for cells in reader:
                where, line = f"line {line}", reader.line_num + 1
                if len(cells) not in (0, len(header)):
                    raise QpertError(
                        f"{path}: {where} has {len(cells)} cells, the header {len(header)}; "
                        "captions that contain the delimiter must be quoted"
                    )
                if cells:
                    yield where, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise QpertError(f"{path}: the row that starts at line {line} cannot be read: {error}") from error


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of a file; raises before a line of unlimited length fills the memory."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise QpertError(f"{path}: line {number} has more than {MAX_LINE} characters")
        yield line


def _read_delimited(file: TextIO, path: Path, kind: str) -> Any:
    """A strict `csv.reader`, for which a missing quotation mark is an error; csv limits cells to 131,072 characters."""
    return csv.reader(_lines(file, path), delimiter="\t" if kind == ".tsv" else ",", strict=True)


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(_lines(file, path), 1):
            if line.isspace():
                continue
            try:
                row = json.loads(line, object_pairs_hook=object_of_unique_keys)
            except (ValueError, RecursionError) as error:
                raise QpertError(f"{path}: line {number} is not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise QpertError(f"{path}: line {number} is not a JSON object")
            yield f"line {number}", row


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


def _pick(path: Path, columns: Sequence[str], wanted: str | None, usual: Sequence[str], what: str) -> str:
    """The requested column, or else the first of the usual ones, whatever its case."""
    if wanted:
        column = wanted if wanted in columns else None
    else:
        column = next((column for name in usual for column in columns if column.lower() == name), None)
    if column is None:
        missing = f"no column {wanted!r}" if wanted else f"no column for the {what} ({', '.join(usual)})"
        raise QpertError(f"{path} has {missing}; name it with {what}_column. It has: {', '.join(columns)[:300]}")
    return column


def _image(value: Any, path: Path, where: str) -> str:
    if not isinstance(value, int | str) or isinstance(value, bool) or value == "":
        raise QpertError(f"{path}: {where} names no image: {str(value)[:100]!r}")
    return str(value)


def _captions(value: Any, path: Path, where: str) -> list[str]:
    """The captions in one cell; an empty cell is a blank caption."""
    if isinstance(value, str) and value.startswith(('["', "['")):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise QpertError(f'{path}: {where} looks like a list but is not a JSON list ["...", "..."]') from error
    captions = value if isinstance(value, list) else ["" if value is None else value]
    for caption in captions:
        if not isinstance(caption, str):
            raise QpertError(f"{path}: {where} is not a caption or a list of captions: {str(caption)[:100]!r}")
    return captions
