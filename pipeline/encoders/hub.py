"""Models from the Hugging Face hub: only the files that are read, as a folder on this machine."""

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


def fetch(name: str, patterns: Sequence[str], model: str, *, download: Callable[..., str] = snapshot_download) -> Path:
    """Download a repository, once per machine; concurrent callers wait for the first.

    Args:
        name: `org/name`.
        patterns: of the files to fetch; the configuration is checked before anything is built from it.
        model: whose weights these are, for the message.
        download: fetches the files that match `allow_patterns` and returns their folder.

    Raises:
        QpertError: it could not be downloaded.
    """
    try:
        return Path(download(name, allow_patterns=list(patterns)))
    except Exception as error:  # of network, disk and hub, each of several libraries
        raise could_not_load(model, name, error) from error


def could_not_load(model: str, weights: str, error: Exception, otherwise: str = "its folder") -> QpertError:
    """The error to raise for weights that cannot be loaded, with the advice for a machine without a network."""
    return QpertError(
        f"{model} weights {weights!r} could not be loaded: {first_line(error)}. Without a network, download the"
        f" repository elsewhere and give {otherwise}"
    )
