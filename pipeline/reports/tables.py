"""Tables for the terminal and for Markdown. The first column is text, the others are numbers or short words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def terminal(headers: Sequence[str], rows: Rows) -> str:
    """An aligned table for a terminal: first column left, the others right, a rule below the header.

    Control characters are shown, not sent: a file name cannot move the cursor.
    """
    lines = [[printable(cell) for cell in line] for line in (headers, *rows)]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(headers))]
    text = [_aligned(line, widths) for line in lines]
    return "\n".join([text[0], "  ".join("─" * width for width in widths), *text[1:]])


def markdown(headers: Sequence[str], rows: Rows) -> str:
    """A GitHub-flavoured Markdown table; `|` and line breaks in cells are escaped."""
    rule = [":--", *["--:"] * (len(headers) - 1)]
    cells = [[printable(cell).replace("|", "\\|") for cell in line] for line in (headers, *rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (cells[0], rule, *cells[1:]))


def printable(text: str) -> str:
    """`text` on one line, its control characters, line breaks and direction marks as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


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
