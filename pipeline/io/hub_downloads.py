"""Downloads from the Hugging Face hub into its cache: once per machine, with progress, resumed after an interruption.

huggingface_hub goes on after a lost connection, but starts a file again from zero if the process was ended. Large files
are therefore fetched here, to the place where it looks for them, under its own lock; all else is left to it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url, snapshot_download
from huggingface_hub.utils.tqdm import tqdm

from pipeline.errors import QpertError

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of all files, now and then."""
LARGE = 2**24
"""Bytes from which a file is worth resuming."""
_CHUNK = 2**20
_DIGEST = re.compile("[0-9a-f]{64}")
_TRIES = 5
"""Failures in a row, without a byte received, after which a download gives up."""
_LONGEST_PAUSE = 8.0
"""Seconds between two tries."""
_EVERY = 10.0
"""Seconds between two log lines."""


class _Hidden(tqdm):  # type: ignore[misc]
    """huggingface_hub's progress bar, not shown: it would need control characters, which commands escape."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]


class _Log:
    """Progress as a log line now and then."""

    def __init__(self, name: str) -> None:
        self.name, self.said = name, time.monotonic()

    def __call__(self, here: int, total: int) -> None:
        """See `Progress`."""
        if time.monotonic() - self.said >= _EVERY:
            self.said = time.monotonic()
            logger.info(f"downloading {self.name}: {here / 1e9:.1f} of {total / 1e9:.1f} GB")


@dataclass(frozen=True)
class _LargeFile:
    """A file of a repository that is fetched here.

    Attributes:
        url: of its content, at one commit.
        size: bytes.
        sha256: digest of its content, which is also its name in the cache.
    """

    url: str
    size: int
    sha256: str


def download_snapshot(name: str, *, allow_patterns: Sequence[str], progress: Progress | None = None) -> str:
    """Like `huggingface_hub.snapshot_download`, with large files resumed.

    Args:
        name: `org/name`.
        allow_patterns: of the files to fetch.
        progress: reports on the large files; None: log lines.

    Returns:
        The folder, in the hub's cache. Without a network, or with HF_HUB_OFFLINE=1, what the cache holds.

    Raises:
        QpertError: the disk has no room for the files.
        OSError and errors of the HTTP library: the hub does not answer, or has no such repository; what has arrived of
            a file is kept.
    """
    store = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    _fetch_large(_large_files(name, allow_patterns), store, progress or _Log(name))
    folder: str = snapshot_download(name, allow_patterns=list(allow_patterns), tqdm_class=_Hidden)
    return folder


def _large_files(name: str, patterns: Sequence[str]) -> list[_LargeFile]:
    """The large files of a repository; none if the hub does not say, which `snapshot_download` then explains."""
    try:
        info = HfApi().model_info(name, files_metadata=True)
    except Exception:  # of the hub and of the HTTP library, which differs between versions
        return []
    files = [file for file in info.siblings or [] if any(fnmatchcase(file.rfilename, name) for name in patterns)]
    return [
        _LargeFile(hf_hub_url(name, file.rfilename, revision=info.sha), file.lfs.size, file.lfs.sha256)
        for file in files
        if file.lfs is not None
        and LARGE <= file.lfs.size <= constants.MAX_HTTP_DOWNLOAD_SIZE
        and _DIGEST.fullmatch(file.lfs.sha256)  # it becomes the name of a file
    ]


def _fetch_large(files: Sequence[_LargeFile], store: Path, progress: Progress) -> None:
    blobs, locks = store / "blobs", store.parent / ".locks" / store.name
    for folder in (blobs, locks) if files else ():
        folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not (blobs / file.sha256).exists()]
    total, here = sum(file.size for file in missing), 0
    _check_room(blobs, total - sum(_size(_unfinished(blobs / file.sha256)) for file in missing))
    for file in missing:
        blob = blobs / file.sha256
        with FileLock(locks / f"{file.sha256}.lock"):  # huggingface_hub's own: its downloads wait for this one
            if not blob.exists():
                _fetch_file(file, blob, partial(_report, progress, here, total))
        here += file.size
        progress(here, total)


def _report(progress: Progress, before: int, total: int, count: int) -> None:
    progress(before + count, total)


def _fetch_file(file: _LargeFile, blob: Path, arrived: Callable[[int], None]) -> None:
    """Fetch what is missing of a file, compare its digest, and move it into place."""
    unfinished, failures = _unfinished(blob), 0
    with unfinished.open("ab") as content:
        while (before := content.tell()) < file.size:
            try:
                _receive(file, content, arrived)
            except Exception as error:  # of the HTTP library, which differs between versions of huggingface_hub
                failures = 0 if content.tell() > before else failures + 1
                if failures > _TRIES or _is_final(error):
                    raise
                time.sleep(min(_LONGEST_PAUSE, 2.0**failures / 2))
    with unfinished.open("rb") as content:
        digest = hashlib.sha256()
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != file.sha256:
        unfinished.unlink()
        raise OSError(f"what {file.url} sent is not the file that the hub lists; it was deleted, try again")
    unfinished.replace(blob)


def _is_final(error: Exception) -> bool:
    """Whether trying again is in vain: the disk is full, or the server refuses."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return getattr(error, "errno", None) == errno.ENOSPC or (status is not None and status < 500 and status != 429)


def _receive(file: _LargeFile, content: BinaryIO, arrived: Callable[[int], None]) -> None:
    """Append what is missing to `content`, or begin again where the server sends all of it."""
    there = content.tell()
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    if not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and (token := get_token()):
        headers["Authorization"] = f"Bearer {token}"  # dropped by the HTTP library where it is led to another host
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", file.url, headers=headers, follow_redirects=True, timeout=timeout) as response:
        response.raise_for_status()
        if there and response.status_code != 206:
            content.truncate(0)
            content.seek(0)
        for chunk in response.iter_bytes(_CHUNK):
            content.write(chunk)
            arrived(content.tell())
            if content.tell() > file.size:  # of another content, as its digest will show
                return


def _check_room(folder: Path, needed: int) -> None:
    if needed > 0 and needed > (free := shutil.disk_usage(folder).free):
        raise QpertError(
            f"the download takes {needed / 1e9:.1f} GB, and {folder} has room for {free / 1e9:.1f}: name another folder"
            " in HF_HOME"
        )


def _unfinished(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.partial")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
