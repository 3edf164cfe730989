"""Models from the Hugging Face hub: only the files that are read, as a folder on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import constants

from pipeline.errors import QpertError, first_line
from pipeline.io.hub_downloads import download_snapshot

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_INDEX = ".safetensors.index.json"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form of a repository's id, `org/name`."""
    return _ID.fullmatch(name) is not None


def fetch(name: str, patterns: Sequence[str], model: str, *, download: Callable[..., str] = download_snapshot) -> Path:
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
    except QpertError:
        raise
    except Exception as error:  # of network, disk and hub, each of several libraries
        raise could_not_load(model, name, error, "its folder; qpert models says how") from error


def could_not_load(model: str, weights: str, error: Exception, otherwise: str = "its folder") -> QpertError:
    """The error to raise for weights that cannot be loaded; for the hub's with advice for want of a network."""
    reason = first_line(error).rstrip(".")
    if Path(weights).exists():
        return QpertError(f"{model} weights {weights!r} could not be loaded: {reason}")
    return QpertError(
        f"{model} weights {weights!r} could not be loaded: {reason}. Without a network, download the repository"
        f" elsewhere and give {otherwise}"
    )


def cached_weights(repository: str, beginning: str = "") -> Path | None:
    """The folder with the weights of a repository in the hub's cache, or None unless all of them are there.

    Args:
        repository: `org/name`, or `org/name/file` for one file of it.
        beginning: of the names of the files with the weights, where a repository has them in several formats.
    """
    name, file = split_file(repository)
    store = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    try:
        snapshot = store / "snapshots" / (store / "refs" / "main").read_text(encoding="utf-8").strip()
        files = {path.name for path in snapshot.iterdir() if path.is_file()}
        if file:
            return snapshot if file in files else None
        for index in (name for name in files if name.startswith(beginning) and name.endswith(_INDEX)):
            shards = json.loads((snapshot / index).read_text(encoding="utf-8"))["weight_map"].values()
            return snapshot if files.issuperset(shards) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return snapshot if any(name.startswith(beginning) and name.endswith(_WEIGHTS) for name in files) else None


def split_file(repository: str) -> tuple[str, str]:
    """`org/name/file` as `org/name` and `file`; the file is "" in `org/name`."""
    organisation, _, rest = repository.partition("/")
    name, _, file = rest.partition("/")
    return f"{organisation}/{name}", file
