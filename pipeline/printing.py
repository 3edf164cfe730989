"""Text from outside on a terminal: file names, ids, reasons, captions and exceptions, with nothing that acts on it."""

from __future__ import annotations

import json
import re
from typing import Any

_RISKY_CELL = re.compile(r"[=@\t\r\n]|[+-](?![-+0-9.,%()\[\]eE ]*$)")
"""A cell that a spreadsheet would take for a formula; a number with its sign and interval is none."""


def is_printable(letter: str, encoding: str | None = None) -> bool:
    """Whether a terminal just shows `letter`: no control character, direction mark, line break or lone surrogate.

    With an `encoding`, whether that has the letter, too.
    """
    if not letter.isprintable() and letter != "\u3000":  # the blank of Chinese and Japanese
        return False
    return encoding is None or _encodes(letter, encoding)


def printable(text: str) -> str:
    """`text` on one line, its control characters, line breaks, direction marks and lone surrogates as escapes."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str, indent: str = "       ") -> str:
    """The same of a message of several lines; all but the first begin with `indent`.

    So a line break within a name can never begin a line that looks like a message of its own.
    """
    first, *further = text.split("\n")
    return "\n".join([printable(first), *(indent + printable(line.strip()) for line in further)])


def printable_json(value: Any, encoding: str | None = None, indent: int | None = 2) -> str:
    """`value` as JSON that can be printed: what a terminal would not just show, or `encoding` lacks, is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable() and encoding is None:
        return text
    return "".join(c if c == "\n" or is_printable(c, encoding) else json.dumps(c)[1:-1] for c in text)


def csv_cell(value: Any) -> Any:
    """`value`; text that a spreadsheet would run as a formula has an apostrophe in front, as spreadsheets expect it."""
    return f"'{value}" if isinstance(value, str) and _RISKY_CELL.match(value) else value


def duration(seconds: float) -> str:
    """``0:07``, ``12:34`` or ``3:04:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _escaped(letter: str) -> str:
    return letter if is_printable(letter) else letter.encode("unicode_escape").decode("ascii")


def _encodes(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
