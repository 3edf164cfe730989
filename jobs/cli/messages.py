"""Messages of the commands: what `jobs` and `pipeline` log, on stderr, and hints to mistyped names."""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pipeline.io.uris import masked
from pipeline.printing import printable, printable_lines


class MessageFormatter(logging.Formatter):
    """Progress as it is, on one line; warnings and errors as ``warning: TEXT``.

    Keys in URIs are hidden, and nothing acts on a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """`record` as text, without a line break at its end."""
        text = masked(super().format(record))
        if record.levelno < logging.WARNING:
            return printable(text)
        return f"{record.levelname.lower()}: {printable_lines(text)}"


class MessageHandler(logging.Handler):
    """Prints to the `sys.stderr` of the moment; a failure to do so is raised, as `print` raises it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print `record` at once."""
        print(self.format(record), file=sys.stderr, flush=True)


@contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Prints our messages, from progress (`info`) upwards, for the length of a block.

    Loggers of other libraries stay as they are. Whoever uses `pipeline` without the command line sets logging up as
    they like.
    """
    handler = MessageHandler()
    handler.setFormatter(MessageFormatter())
    loggers = [logging.getLogger(name) for name in ("jobs", "pipeline")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        # Not to the root logger as well, which some libraries set up: messages would appear twice.
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def did_you_mean(word: str, names: Iterable[str], otherwise: str, *, prefix: str = "", cutoff: float = 0.5) -> str:
    """A hint for a mistyped name: the most similar of `names` after a `prefix`, else what `otherwise` says."""
    similar = difflib.get_close_matches(word, list(names), n=1, cutoff=cutoff)
    return f"did you mean {prefix}{similar[0]}?" if similar else otherwise
