"""Printing untrusted text (file names, ids, captions, exceptions) without characters that act on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

_RISKY_CELL = re.compile(r"[=@\t\r\n]|[+-](?![-+0-9.,%()\[\]eE ]*$)")
"""Start of a cell that a spreadsheet would take for a formula; a signed number with its interval is not one."""
_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def is_printable(letter: str, encoding: str | None = None) -> bool:
    """Whether a terminal merely shows `letter`: no control character, direction mark, line break or lone surrogate.

    With an `encoding`, it must also be able to encode the letter.
    """
    if not letter.isprintable() and letter != "\u3000":  # the space of Chinese and Japanese
        return False
    return encoding is None or _encodes(letter, encoding)


def printable(text: str) -> str:
    """`text` on one line, with control characters, line breaks, direction marks and lone surrogates escaped."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str, indent: str = "       ") -> str:
    """The same for a message of several lines; all but the first begin with `indent`.

    So a line break within a name can never begin a line that looks like a separate message.
    """
    first, *others = text.split("\n")
    return "\n".join([printable(first), *(indent + printable(line.strip()) for line in others)])


def printable_json(value: Any, encoding: str | None = None, indent: int | None = 2) -> str:
    """`value` as printable JSON: characters that are not printable, or that `encoding` lacks, are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable() and encoding is None:
        return text
    return "".join(c if c == "\n" or is_printable(c, encoding) else json.dumps(c)[1:-1] for c in text)


def csv_cell(value: Any) -> Any:
    """`value`, with an apostrophe before text that a spreadsheet would run as a formula, the usual way to escape it."""
    return f"'{value}" if isinstance(value, str) and _RISKY_CELL.match(value) else value


def size_text(size: float) -> str:
    """``1.5 GB``; below a kilobyte ``512 bytes``."""
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:,.0f} bytes"


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
