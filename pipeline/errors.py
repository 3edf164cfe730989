"""The one exception that is written for the person at the keyboard, and what it quotes of others."""

from __future__ import annotations


class QpertError(Exception):
    """Something the user can put right; the message says what is wrong and what to do.

    The command line prints it as `error: ...` without a traceback and exits with status 2.
    """


def first_line(error: BaseException) -> str:
    """What a library's exception says first, or its class where it says nothing: enough for a message of ours."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
