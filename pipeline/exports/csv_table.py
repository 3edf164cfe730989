"""An export as a table in UTF-8, for spreadsheets and scripts: objects as JSON, vectors only if asked for."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import Any

import pyarrow as pa

from pipeline.exports.columns import ID, IMAGE_ID
from pipeline.exports.destination import output_stream
from pipeline.exports.job import Job
from pipeline.io.locations import Folder
from pipeline.printing import csv_cell

_BEGINNING = f"{ID},{IMAGE_ID}".encode()
_SIDES = ("x0", "y0", "x1", "y1")
_CHUNK = 4096


def write(job: Job) -> None:
    """Writes one line per row, after a line with the names of the columns."""
    with output_stream(job.folder) as file:
        file.write(lines_of([job.rows.schema.names]))
        for batch in job.batches:
            for start in range(0, batch.num_rows, _CHUNK):
                file.write(batch_lines(batch.slice(start, _CHUNK)))


def batch_lines(batch: pa.RecordBatch) -> bytes:
    """The lines of a batch."""
    columns = [[cell(value) for value in column.to_pylist()] for column in batch.columns]
    return lines_of(zip(*columns, strict=True))


def lines_of(rows: Any) -> bytes:
    """Rows of cells as lines."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def cell(value: Any) -> Any:
    """A value in a cell: lists and structs as JSON, and text that a spreadsheet would run behind an apostrophe."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(_plain(value), ensure_ascii=False)
    return csv_cell(value)


def _plain(value: Any) -> Any:
    """Boxes as lists of four, as in the answers of a search; numbers of vectors with all their digits."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        rest = {name: _rounded(item) for name, item in value.items() if name not in _SIDES}
        return rest | ({"box": [_rounded(value[side]) for side in _SIDES]} if _SIDES[0] in value else {})
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def is_ours(folder: Folder) -> bool:
    """Whether it is a table that `write` made, by its first line."""
    try:
        with folder.filesystem.open_input_stream(folder.path, compression=None) as file:
            return bytes(file.read(len(_BEGINNING))) == _BEGINNING
    except OSError:
        return False
