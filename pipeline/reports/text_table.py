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
_MARKDOWN = re.compile(r"[|<`]|(?<=\])\(|&(?=[#\w]+;)|\\(?=[!-/:-@\[-`{-~])")
"""Signs that begin something in GitHub's Markdown; not the brackets of intervals, and not the underscores of names."""


def terminal(headers: Sequence[str], rows: Rows) -> str:
    """An aligned table for a terminal: first column left, the others right, a rule below the header.

    Control characters are shown, not sent: a file name cannot move the cursor.
    """
    lines = [[printable(cell) for cell in line] for line in (headers, *rows)]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(headers))]
    text = [_aligned(line, widths) for line in lines]
    return "\n".join([text[0], "  ".join("─" * width for width in widths), *text[1:]])


def markdown(headers: Sequence[str], rows: Rows) -> str:
    """A GitHub-flavoured Markdown table; what means something in Markdown, and line breaks, are escaped in cells."""
    rule = [":--", *["--:"] * (len(headers) - 1)]
    cells = [[markdown_text(cell) for cell in line] for line in (headers, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (cells[0], rule, *cells[1:]))


def markdown_text(text: str) -> str:
    """`text` on one line of Markdown, where names stay names: no tags, links, images, code or cells of a table."""
    return _MARKDOWN.sub(r"\\\g<0>", printable(text))


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV. No cell of text is a formula to a spreadsheet."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent without the sign, as the paper prints it; `-` for None."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first = line[0] + " " * (widths[0] - _columns(line[0]))
    rest = (" " * (width - _columns(cell)) + cell for cell, width in zip(line[1:], widths[1:], strict=True))
    return "  ".join([first, *rest]).rstrip()


def _columns(text: str) -> int:
    """Terminal columns that `text` takes: two for wide characters, none for combining ones."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
