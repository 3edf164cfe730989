"""A process that hangs ends itself, so that its work is begun anew elsewhere."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def watchdog(seconds: float | None) -> Iterator[Callable[[], None]]:
    """A block that has to call what it gets at least every so many seconds; else this process exits, with status 1.

    It does so even while code in C hangs and lets no Python run. Where each thread was goes to standard error. There is
    one such watch in a process.

    Args:
        seconds: None for any time.
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
