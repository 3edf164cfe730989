"""Which format captions are in, by the beginning of the file; its suffix decides where the content leaves it open."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pipeline.datasets.captions.caption_table import has_columns
from pipeline.datasets.captions.token_file import is_token_line
from pipeline.datasets.text_file import open_text, plain_suffix
from pipeline.errors import QpertError

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".jsonlines", ".parquet")
"""Suffixes of tables, which name their form where nothing else does."""
_BY_SUFFIX = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".jsonlines": "lines",
    ".parquet": "parquet",
    ".json": "json",
}
_BEGINNING = 1 << 16
"""Characters of a first line that are looked at."""


def form_of(path: Path, image_column: str | None, caption_column: str | None, *, strict: bool) -> str | None:
    """Recognise the format of captions.

    Args:
        path: a file or folder.
        image_column: a column that a table has.
        caption_column: another one.
        strict: a suffix that names a form decides.

    Returns:
        `folder`, `json`, `lines` (of JSON), `tokens`, `delimited`, `parquet`, or None if it is none of them.

    Raises:
        QpertError: the file cannot be read.
    """
    if path.is_dir():
        return "folder"
    by_suffix = _BY_SUFFIX.get(plain_suffix(path))
    if by_suffix == "parquet" or (strict and by_suffix is not None):
        return by_suffix
    try:
        first, second = _first_lines(path, strict=strict)
    except UnicodeDecodeError as error:
        raise QpertError(f"cannot read {path}: {error}") from error
    if first.lstrip()[:1] in ("{", "["):
        return _json_form(first.strip(), second, by_suffix)
    if is_token_line(first):
        return "tokens"
    if by_suffix is not None:
        return by_suffix
    headers = ([cell.strip() for cell in cells] for mark in ",\t;|" for cells in csv.reader([first], delimiter=mark))
    return "delimited" if any(has_columns(cells, image_column, caption_column) for cells in headers) else None


def _first_lines(path: Path, *, strict: bool) -> tuple[str, bool]:
    """The first line that is not blank, as far as it is looked at, and whether another one follows."""
    with open_text(path, strict=strict) as file:
        first = ""
        while line := file.readline(_BEGINNING):
            if first and not line.isspace():
                return first, True
            first = first or ("" if line.isspace() else line)
    return first, False


def _json_form(first: str, second: bool, by_suffix: str | None) -> str:
    """Whether the file is JSON or lines of JSON."""
    if first[0] == "[":
        return "json"
    try:
        whole = json.loads(first)
    except (ValueError, RecursionError):
        return "json" if by_suffix != "lines" or first == "{" else "lines"
    if by_suffix == "lines":
        return "json" if "images" in whole and not second else "lines"
    return "lines" if second else "json"
