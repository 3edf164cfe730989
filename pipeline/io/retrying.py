"""Retrying storage operations that fail, with growing pauses, before giving up.

Errors are of three kinds. Those that stay (missing, forbidden, full) are raised at once. While a store does not answer
or says that it is overloaded, its operations wait for `PATIENCE` seconds, however many tries that are: nothing is lost
meanwhile. All others, which may be of any cause, are tried `TRIES` times.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import TypeVar

import tenacity

from pipeline.io.storage_waits import StorageAnswers, StorageWaits, problem_of, say

Result = TypeVar("Result")

TRIES = 6
"""Attempts at an operation that fails for no clear reason; the pauses between them add up to half a minute at most."""
PATIENCE_VARIABLE = "QPERT_STORAGE_PATIENCE"
PATIENCE = float(os.environ.get(PATIENCE_VARIABLE) or 600)
"""Seconds for which operations wait for a store that is down."""
LONGEST_PAUSE = 15.0
"""Seconds between two tries, at most."""
_FINAL = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG}
_FINAL_WORDS = (
    *("No space left on device", "Disk quota exceeded", "Read-only file system", "File name too long"),
    *("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH"),
    *("Unable to locate credentials", "Couldn't resolve host"),
)
"""What object stores say in the text of a plain OSError, when retrying is pointless."""
_MISSING_WORDS = ("NO_SUCH_KEY", "Path does not exist", "No such directory")
_REFUSED = re.compile(r"HTTP status (?:3\d\d|4(?!08|29)\d\d)")
"""The same where there is only a number: any redirect or refusal but "too slow" and "too many"."""
_OUTAGE = re.compile(
    r"NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING"
    r"|HTTP status (?:408|429|5\d\d)|Status\(UNAVAILABLE"
    r"|ServiceUnavailable|SlowDown|InternalError|RequestTimeout|\(5\d\d\)|Could not connect|Connection was closed"
    r"|Read timeout on|Connect timeout on"  # these as boto3 says them
)
_RETRIED = "qpert_retried"


def transient(error: BaseException) -> bool:
    """Whether a retry may succeed: an OSError that does not mean that something is missing, full or forbidden."""
    if not isinstance(error, OSError) or isinstance(error, _FINAL) or error.errno in _FINAL_NUMBERS:
        return False
    if is_missing(error):
        return False
    text = str(error)
    return not (any(words in text for words in _FINAL_WORDS) or _REFUSED.search(text))


def is_missing(error: OSError) -> bool:
    """Whether an error says that a file or folder does not exist, which some stores say in words only."""
    return isinstance(error, FileNotFoundError) or any(words in str(error) for words in _MISSING_WORDS)


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the store does not answer, or that it is overloaded."""
    return transient(error) and (
        isinstance(error, ConnectionError | TimeoutError) or _OUTAGE.search(str(error)) is not None
    )


def was_retried(error: BaseException) -> bool:
    """Whether `retry` has given up on this error: another layer of retries would only multiply the tries."""
    return bool(getattr(error, _RETRIED, False))


def retry(call: Callable[[], Result], tries: int = TRIES, patience: float | None = None) -> Result:
    """Call `call` until it does not fail with a transient error, and tell `storage_waits` of every pause.

    Args:
        call: the operation.
        tries: attempts, at least.
        patience: seconds for which outages are waited through; None for `PATIENCE`.

    Raises:
        OSError: the last error of `call`.
    """
    limit, others, waited = PATIENCE if patience is None else patience, 0, False

    def given_up(state: tenacity.RetryCallState) -> bool:
        nonlocal others
        error = state.outcome.exception() if state.outcome else None
        if limit and error is not None and is_outage(error):
            return (state.seconds_since_start or 0.0) >= limit
        others += 1
        return others >= tries

    def wait(state: tenacity.RetryCallState) -> None:
        nonlocal waited
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            waited = True
            say(StorageWaits(problem_of(error), state.seconds_since_start or 0.0, limit if is_outage(error) else 0.0))

    attempts = tenacity.Retrying(
        stop=given_up,
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=LONGEST_PAUSE),
        retry=tenacity.retry_if_exception(lambda error: transient(error) and not was_retried(error)),
        before_sleep=wait,
        reraise=True,
    )
    try:
        return attempts(call)
    except OSError as error:
        if transient(error):
            setattr(error, _RETRIED, True)
        raise
    finally:
        if waited:
            say(StorageAnswers(float(attempts.statistics.get("delay_since_first_attempt", 0.0))))


def out_of_space(error: BaseException) -> bool:
    """Whether an error says that a disk is full."""
    by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return by_number or any(words in str(error) for words in _FINAL_WORDS[:2])


def full(out: str) -> str:
    """The message when the disk of `out` is full."""
    return f"no space left for {out}; make room and run the same command again: what is done stays done"
