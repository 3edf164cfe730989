"""Storage that fails now and then: try again, more and more slowly, before giving up."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

import tenacity

Result = TypeVar("Result")

TRIES = 6
"""Of one operation; the waits between them come to half a minute at most."""
_FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG}
_FINAL_WORDS = (
    *("No space left on device", "Disk quota exceeded", "Read-only file system", "File name too long"),
    *("ACCESS_DENIED", "NO_SUCH_BUCKET", "NO_SUCH_KEY", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH"),
    *("Path does not exist", "Unable to locate credentials", "Couldn't resolve host"),
)
"""What object stores say in the text of a plain OSError."""


def transient(error: BaseException) -> bool:
    """Whether it may go well next time: an OSError that does not say that something is missing, full or forbidden."""
    if not isinstance(error, OSError) or isinstance(error, _FINAL) or error.errno in _FINAL_NUMBERS:
        return False
    return not any(words in str(error) for words in _FINAL_WORDS)


def patiently(call: Callable[[], Result], tries: int = TRIES) -> Result:
    """What `call` returns; called again, up to so many times, when it fails for a reason that may pass.

    Raises:
        OSError: what it raised last.
    """
    attempts = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(tries),
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=15),
        retry=tenacity.retry_if_exception(transient),
        before_sleep=tenacity.before_sleep_log(logging.getLogger(__name__), logging.INFO),
        reraise=True,
    )
    return attempts(call)


def out_of_space(error: BaseException) -> bool:
    """Whether a disk is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or any(words in str(error) for words in _FINAL_WORDS[:2])


def full(out: str) -> str:
    """What to say when there is no room for `out`."""
    return f"no space left for {out}; make room and run the same command again: what is done stays done"
