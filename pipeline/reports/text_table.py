"""Tables for the terminal and for Markdown. The first column is text, the others are numbers or short words."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.printing import csv_cell, printable

Rows = Sequence[Sequence[str]]
Table = tuple[list[str], list[list[str]]]
"""Headers and rows."""
_MARKDOWN = re.compile(r"[|<`]|(?<=\])\(|&(?=[#\w]+;)|\\(?=[!-/:-@\[-`{-~])")
"""Characters with a meaning in GitHub's Markdown, except the brackets of intervals and the underscores of names."""


def terminal(headers: Sequence[str], rows: Rows) -> str:
    """An aligned table for a terminal: first column left, the others right, a rule below the header.

    Control characters are escaped, so that a file name cannot move the cursor.
    """
    lines = [[printable(cell) for cell in line] for line in (headers, *rows)]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(headers))]
    text = [_aligned(line, widths) for line in lines]
    return "\n".join([text[0], "  ".join("─" * width for width in widths), *text[1:]])


def markdown(headers: Sequence[str], rows: Rows) -> str:
    """A GitHub-flavoured Markdown table; Markdown's special characters and line breaks are escaped in cells."""
    rule = [":--", *["--:"] * (len(headers) - 1)]
    cells = [[markdown_text(cell) for cell in line] for line in (headers, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (cells[0], rule, *cells[1:]))


def markdown_text(text: str) -> str:
    """`text` on one line of Markdown, without tags, links, images, code or table cells."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, without text that a spreadsheet would take for a formula."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent without the sign, as the paper prints it; `-` for None."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference between fractions in percentage points, with its sign; `-` for None."""
    return "-" if value is None else f"{round(100 * value, 2) + 0.0:+.2f}"  # + 0.0 turns -0.00 into +0.00


def interval_text(interval: tuple[float, float] | None, *, signed: bool = False) -> str:
    """An interval of fractions, such as `64.10 to 67.00`, or of differences, such as `-0.88 to +0.56`."""
    return "-" if interval is None else " to ".join((points if signed else percent)(end) for end in interval)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first = line[0] + " " * (widths[0] - _columns(line[0]))
    rest = (" " * (width - _columns(cell)) + cell for cell, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([first, *rest]).rstrip()


def _columns(text: str) -> int:
    """The width of `text` in terminal columns: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
