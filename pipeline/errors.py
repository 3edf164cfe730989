"""The one exception that is written for the person at the keyboard."""

from __future__ import annotations


class QpertError(Exception):
    """Something the user can put right; the message says what is wrong and what to do.

    The command line prints it as `error: ...` without a traceback and exits with status 2.
    """
