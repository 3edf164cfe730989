"""Rows of tables in text: CSV, TSV, and Kaggle's Flickr30K (`image_name| comment_number| comment`, without quotes)."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from pipeline.datasets.captions.collector import CaptionCollector
from pipeline.datasets.text_file import open_text, plain_suffix
from pipeline.errors import QpertError

_BAR = "|"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_ROW = 50
"""Lines of a row that are looked at before its quotation mark counts as one that nobody closed."""
_NUMBER_AND_TEXT = re.compile(r"\s*\d+\s+(?P<text>\S.*)", re.DOTALL)
"""Two cells of the row of 2199200615.jpg, which lacks the bar between them."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: the file.
        delimiter: between cells; between bars cells are not quoted, and spaces around them are left out.
        header: names of the columns.
    """

    path: Path
    delimiter: str
    header: Sequence[str]


def read_header(path: Path, has_columns: Callable[[Sequence[str]], bool], max_line: int, *, strict: bool) -> Table:
    """Find the delimiter of a table, and its columns.

    Args:
        path: the file.
        has_columns: whether columns are those that are looked for: decides between delimiters, of which that of the
            suffix comes first.
        max_line: most characters of a line.
        strict: see `open_text`.

    Raises:
        QpertError: the file cannot be read, or two columns have the same name.
        csv.Error, UnicodeDecodeError: the header cannot be read.
    """
    with open_text(path, strict=strict) as file:
        first = next(read_lines(file, path, max_line), "")
    usual = _DELIMITERS.get(plain_suffix(path), ",")
    headers = {mark: _header(first, mark) for mark in dict.fromkeys((usual, ",", "\t", _BAR, ";"))}
    delimiter = next((mark for mark, header in headers.items() if has_columns(header)), usual)
    header = headers[delimiter]
    if len(set(header)) < len(header):
        raise QpertError(f"{path} has two columns named {Counter(header).most_common(1)[0][0]!r}")
    return Table(path, delimiter, header)


def read_rows(table: Table, into: CaptionCollector, last: str, max_line: int) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a table and their places, such as `line 7`; bad ones are left to `into.bad`.

    Args:
        table: see `read_header`.
        into: counts bad rows.
        last: the column of captions: where it is the last one, further cells are parts of a caption that is not quoted.
        max_line: most characters of a line.

    Raises:
        QpertError: a line is too long; or a row is bad, in strict reading.
        UnicodeDecodeError: a line is not UTF-8, in strict reading.
    """
    width = len(table.header)
    with open_text(table.path, strict=into.bad.strict) as file:
        lines = read_lines(file, table.path, max_line)
        next(lines, None)
        split = _between_bars(lines, width) if table.delimiter == _BAR else _quoted(lines, table, into)
        for number, cells in split:
            where = f"line {number}"
            if len(cells) > width and table.header[-1] == last and not into.bad.strict:
                into.warnings.add("rows have captions with a delimiter that should be quoted", where)
                cells = [*cells[: width - 1], table.delimiter.join(cells[width - 1 :])]
            if len(cells) == width - 1 and table.delimiter == _BAR and not into.bad.strict:
                cells = _missing_bar(cells, into, where)
            if len(cells) == width:
                yield where, dict(zip(table.header, cells, strict=True))
            elif any(cells):
                with into.bad:
                    raise QpertError(
                        f"{table.path}: {where} has {len(cells)} cells, the header {width}; "
                        "captions that contain the delimiter must be quoted"
                    )


def read_lines(file: TextIO, path: Path, max_line: int) -> Iterator[str]:
    """The lines of a file; raises before a line of unlimited length fills the memory."""
    number = 0
    while line := file.readline(max_line + 1):
        number += 1
        if len(line) > max_line:
            raise QpertError(f"{path}: line {number} has more than {max_line} characters")
        yield line


def _header(line: str, delimiter: str) -> list[str]:
    if delimiter == _BAR:
        return [cell.strip() for cell in line.split(_BAR)]
    return next(csv.reader([line], delimiter=delimiter, strict=True), [])


def _between_bars(lines: Iterable[str], width: int) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 2):
        if not line.isspace():
            yield number, [cell.strip() for cell in line.split(_BAR, width - 1)]


def _missing_bar(cells: list[str], into: CaptionCollector, where: str) -> list[str]:
    text = _NUMBER_AND_TEXT.fullmatch(cells[-1])
    if text is None:
        return cells
    into.warnings.add("rows lack the bar before their caption and are read all the same", where)
    return [*cells[:-1], "", text["text"]]


def _quoted(lines: Iterator[str], table: Table, into: CaptionCollector) -> Iterator[tuple[int, list[str]]]:
    """Rows by the rules of CSV, strictly: a row with a quotation mark too many or too few ends at its own line."""
    number, waiting = 2, deque[str]()
    limit = None if into.bad.strict else _LONGEST_ROW
    while True:
        taken: list[str] = []
        source = chain(_popped(waiting), lines)
        try:
            cells = next(csv.reader(_noted(islice(source, limit), taken), delimiter=table.delimiter, strict=True), None)
        except csv.Error as error:
            waiting.extendleft(reversed(taken[1:]))
            with into.bad:
                what = f"the row that starts at line {number} cannot be read: {error}"
                raise QpertError(f"{table.path}: {what}") from error
            number += 1
            continue
        if cells is None:
            return
        yield number, cells
        number += len(taken)


def _popped(waiting: deque[str]) -> Iterator[str]:
    while waiting:
        yield waiting.popleft()


def _noted(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line
