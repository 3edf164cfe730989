"""What an operation of storage says while it waits for a store that does not answer, and who is told.

In a process nobody listens at first: then the log has a line after some seconds, and one a minute. `listen` hands the
events to somebody else as well, in workers to their run.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import first_line

logger = logging.getLogger(__name__)
SAID_AFTER, SAID_EVERY = 5.0, 60.0
"""Seconds of waiting that are not worth a line, and seconds between two lines of the log."""
_STATUS = re.compile(r"HTTP status (?P<arrow>\d{3})|\((?P<boto>5\d\d)\)")
_ANSWERS = {
    "SLOW_DOWN": "answers 503, slow down",
    "SERVICE_UNAVAILABLE": "answers 503",
    "INTERNAL_FAILURE": "answers 500",
    "SlowDown": "answers 503, slow down",
    "ServiceUnavailable": "answers 503",
    "InternalError": "answers 500",
    "REQUEST_TIMEOUT": "answers that it waited too long",
}
_SILENCE = (
    "NETWORK_CONNECTION",
    "Connection reset",
    "timed out",
    "timeout on",
    "curlCode",
    "CURL error",
    "Could not connect",
)


@dataclass(frozen=True)
class StorageWaits:
    """An operation of storage has failed and will be tried again.

    Attributes:
        problem: what the store does: "answers 503".
        seconds: since it failed for the first time.
        limit: seconds after which it is given up; 0 if that depends on the number of tries.
    """

    problem: str
    seconds: float
    limit: float = 0.0


@dataclass(frozen=True)
class StorageAnswers:
    """An operation that had to be tried again has ended well, or was given up, after so many seconds."""

    seconds: float


StorageEvent = StorageWaits | StorageAnswers
Listener = Callable[[StorageEvent], object]


def problem_of(error: BaseException) -> str:
    """What the store does, in a few words that follow "the store"."""
    text = str(error)
    for code, words in _ANSWERS.items():
        if code in text:
            return words
    if status := _STATUS.search(text):
        return f"answers {status['arrow'] or status['boto']}"
    if isinstance(error, ConnectionError | TimeoutError) or any(word in text for word in _SILENCE):
        return "does not answer"
    return f"fails ({first_line(error)[:80]})"


def waiting_text(problem: str, seconds: float, limit: float) -> str:
    """One line: ``the store answers 503; waiting, 3rd minute of 10, nothing is lost``."""
    minute = int(seconds // 60) + 1
    ending = "th" if minute % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(minute % 10, "th")
    of = f" of {max(minute, round(limit / 60))}" if limit else ""
    return f"the store {problem}; waiting, {minute}{ending} minute{of}, nothing is lost"


class _Log:
    """Writes a line now and then, however many operations wait at once."""

    def __init__(self) -> None:
        self._lock, self._last = threading.Lock(), -SAID_EVERY

    def __call__(self, event: StorageEvent) -> None:
        if isinstance(event, StorageAnswers) or event.seconds < SAID_AFTER:
            return
        now = time.monotonic()
        with self._lock:
            due = now - self._last >= SAID_EVERY
            self._last = now if due else self._last
        if due:
            logger.warning(waiting_text(event.problem, event.seconds, event.limit))


_log = _Log()
_listener: Listener | None = None


def listen(listener: Listener | None) -> Listener | None:
    """Tell `listener` of the waits of this process from now on; returns whom it replaces."""
    global _listener
    before, _listener = _listener, listener
    return before


def say(event: StorageEvent) -> None:
    """Tell the log, and the listener if there is one."""
    _log(event)
    if _listener is not None:
        _listener(event)
