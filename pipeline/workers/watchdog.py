"""Ends a process that hangs, so that its work is repeated elsewhere."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watchdog(seconds: float | None) -> Iterator[Callable[[], None]]:
    """Ends this process with status 1 unless the block calls the yielded function at least every `seconds`.

    This works even while C code hangs and keeps Python from running. The stack of each thread goes to standard error.
    A process can have one watchdog at a time.

    Args:
        seconds: None for no limit.
    """
    if seconds is None:
        yield lambda: None
        return

    def alive() -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)

    alive()
    try:
        yield alive
    finally:
        faulthandler.cancel_dump_traceback_later()
