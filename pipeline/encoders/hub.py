"""Models from the Hugging Face hub: the files that are read, and no others, as a folder on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from pipeline.errors import QpertError, first_line

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form of a repository's id, `org/name`."""
    return _ID.fullmatch(name) is not None


def fetch(name: str, patterns: Sequence[str], what: str, *, download: Callable[..., str] = snapshot_download) -> Path:
    """The repository `name`, once per machine: whoever comes second waits.

    Args:
        name: `org/name`.
        patterns: of the files to fetch; the configuration is checked before anything is built from it.
        what: whose weights these are, for the message.
        download: fetches the files that `allow_patterns` fit, and returns their folder.

    Raises:
        QpertError: it could not be had.
    """
    try:
        return Path(download(name, allow_patterns=list(patterns)))
    except Exception as error:  # of network, disk and hub, each of several libraries
        raise QpertError(
            f"{what} weights {name!r} could not be had: {first_line(error)}. Without a network, download the"
            " repository elsewhere and give its folder"
        ) from error
