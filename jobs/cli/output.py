"""What the commands print, on its way to the terminal: whatever anyone prints, nothing acts on the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pipeline.printing import is_printable

_LIVE = re.compile(r"\r(?:\x1b\[1A)?\x1b\[2K|\x1b\[\?25[hl]")
"""Back to the start of the line (or the line above), which is cleared, and hide or show the cursor: all that a
`pipeline.runs.status_line.StatusLine` needs."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MOVES = re.compile(r"\r|\x1b\[[0-9]*[AK]|\x1b\[\?25[hl]")
"""Back to the start of the line, lines up, and clear the line: what progress bars of libraries are made of."""


class PrintableStream:
    """A text stream that escapes what a terminal would not just show, and what its encoding does not have.

    Our own messages escape what they quote; this is the net below them, and also holds what libraries print. Text that
    begins as a status line does may move as one does. Colours are dropped. Nothing is written to a closed stream, None.

    Attributes:
        moves: let through what the progress bars of libraries need, for --verbose.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self.moves = False

    def write(self, text: str) -> int:
        """Write `text`, escaped; returns its length."""
        if self._stream is not None:
            self._stream.write(self._shown(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of `lines`."""
        for line in lines:
            self.write(line)

    def _shown(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        text = _COLOUR.sub("", text).replace("\r\n", "\n")
        pattern = _MOVES if self.moves else _LIVE
        if not self.moves and not _LIVE.match(text):
            return self._escaped(text)
        moves = pattern.findall(text)
        parts = map(self._escaped, pattern.split(text))
        return next(parts) + "".join(move + part for move, part in zip(moves, parts, strict=True))

    def _escaped(self, text: str) -> str:
        return "".join(c if c in "\n\t" or is_printable(c, self._encoding) else _escape(c) for c in text)

    def flush(self) -> None:
        """See that all of it is written."""
        if self._stream is not None:
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether people see it as it comes."""
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)


def _escape(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"


@contextmanager
def printable_output() -> Iterator[None]:
    """`sys.stdout` and `sys.stderr` as printable streams, for the length of a block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(PrintableStream, before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
