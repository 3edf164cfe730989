"""One line that says how far something is: live on a terminal, otherwise a log line every ten seconds."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

EVERY_TTY, EVERY_LOG = 0.5, 10.0
"""Shortest time between two updates on a terminal, and between two log lines, in seconds."""


class _Terminal(Console):
    """Raises an error when the terminal is gone; rich would end the program."""

    def on_broken_pipe(self) -> None:
        """Called by rich for a BrokenPipeError."""
        raise BrokenPipeError("the terminal is gone")


class StatusLine:
    """The line on standard error. What others print there meanwhile appears above it; `close` removes it.

    On a terminal the first text is shown at once; in a log only after ten seconds.
    """

    def __init__(self) -> None:
        self._console = _Terminal(stderr=True)
        self._line: Live | None = None
        self.live = sys.stderr.isatty() and not self._console.is_dumb_terminal
        self.shown = -math.inf if self.live else time.monotonic()

    def show(self, text: str) -> None:
        """Replaces the text of the line, unless it has just been replaced. `text` must be printable."""
        now = time.monotonic()
        if now - self.shown < (EVERY_TTY if self.live else EVERY_LOG):
            return
        self.shown = now
        if not self.live:
            print(text, file=sys.stderr, flush=True)
            return
        if self._line is None:
            self._line = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._line.start()
        self._line.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)

    def close(self) -> None:
        """Removes the line."""
        if self._line is not None:
            with suppress(Exception):  # a terminal that is gone must not hide the error that ended the work
                self._line.stop()
            self._line = None


class Counting:
    """Shows the progress of something that is merely counted, such as a listing, unless it is quick.

    Args:
        what: is counted, "photos listed".
    """

    def __init__(self, what: str) -> None:
        self.what, self.started, self.line = what, time.monotonic(), StatusLine()

    def __call__(self, count: int) -> None:
        """Says that `count` are done."""
        seconds = time.monotonic() - self.started
        if seconds >= EVERY_TTY:
            self.line.show(f"{count:,} {self.what}, {count / seconds:,.0f} a second")

    def end(self) -> None:
        """Removes the line."""
        self.line.close()
