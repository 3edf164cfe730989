"""Retrying storage operations that fail, with growing pauses, before giving up."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

import tenacity

Result = TypeVar("Result")

TRIES = 6
"""Attempts at one operation; the pauses between them add up to half a minute at most."""
_FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG}
_FINAL_WORDS = (
    *("No space left on device", "Disk quota exceeded", "Read-only file system", "File name too long"),
    *("ACCESS_DENIED", "NO_SUCH_BUCKET", "NO_SUCH_KEY", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH"),
    *("Path does not exist", "Unable to locate credentials", "Couldn't resolve host"),
)
"""What object stores say in the text of a plain OSError, when retrying is pointless."""


def transient(error: BaseException) -> bool:
    """Whether a retry may succeed: an OSError that does not mean that something is missing, full or forbidden."""
    if not isinstance(error, OSError) or isinstance(error, _FINAL) or error.errno in _FINAL_NUMBERS:
        return False
    return not any(words in str(error) for words in _FINAL_WORDS)


def retry(call: Callable[[], Result], tries: int = TRIES) -> Result:
    """Call `call` up to `tries` times, until it does not fail with a transient error.

    Raises:
        OSError: the last error of `call`.
    """
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(tries),
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=15),
        retry=tenacity.retry_if_exception(transient),
        before_sleep=tenacity.before_sleep_log(logging.getLogger(__name__), logging.DEBUG),
        reraise=True,
    )
    return attempts(call)


def out_of_space(error: BaseException) -> bool:
    """Whether an error says that a disk is full."""
    by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return by_number or any(words in str(error) for words in _FINAL_WORDS[:2])


def full(out: str) -> str:
    """The message when the disk of `out` is full."""
    return f"no space left for {out}; make room and run the same command again: what is done stays done"
