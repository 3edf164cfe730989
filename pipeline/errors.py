"""The exception whose message is written for the user, and the parts of other exceptions that messages quote."""

from __future__ import annotations


class QpertError(Exception):
    """An error that the user can fix; the message says what is wrong and what to do.

    The command line prints it as `error: ...` without a traceback and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of a library's exception, or its class if it has no text, to be quoted in a message.

    A line that ends with a colon is followed by the next one, which it announces. Of a missing key it says so.
    """
    if isinstance(error, KeyError):
        return f"{error} is missing"
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {rest[0].strip()}" if rest and first.endswith(":") else first


def one_line(error: BaseException) -> str:
    """The first line of an exception, with its type unless it was written for the user; stored as a photo's `error`."""
    text = next(iter(str(error).strip().splitlines()), "")[:300]
    return text if isinstance(error, QpertError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
