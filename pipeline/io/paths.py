"""Types of options that name files and folders, so that command line and configuration files read them alike."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator

from pipeline.io.locations import absolute, is_uri, join, without_options
from pipeline.io.model_weights import split_weights
from pipeline.io.uris import keys_in, without_keys

_FILE_URI = re.compile(r"(?i:file):(?://(?:localhost)?(?=/)|(?!//))(/.*)", re.DOTALL)
_HOME = re.compile(r"(?<=[:+])~(?=[^:+/]*(?:/|$))")
"""A home folder (``~``) in the path of ``kind:path`` or ``path+path``."""


def local(path: str) -> str:
    """`path` with ``~`` expanded and without ``file://``; other URIs are unchanged, but for keys in them."""
    if keys := keys_in(path):
        _use_keys(*keys)
        return without_keys(path)
    uri = _FILE_URI.fullmatch(path)
    if uri is not None and without_options(path) == path:
        return unquote(uri[1])
    return path if is_uri(path) else os.path.expanduser(path)


def _use_keys(key: str, secret: str) -> None:
    """Moves the keys of a URI to where all that reads and writes finds them: as part of URIs they would be stored."""
    for name, value in (("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)):
        if os.environ.setdefault(name, value) != value:
            raise ValueError(f"its key is not that of {name}, and a command has one key: name the key in one place")


def canonical(path: str) -> str:
    """The canonical form of a path or URI; local ones are absolute, without ``.``, ``..``, double or trailing slashes.

    In object stores these belong to the name: there, only the encoding, the scheme's case and trailing slashes change.
    """
    path = local(path)
    if not is_uri(path):
        return re.sub("^//+", "/", absolute(path))
    scheme, mark, rest = path.partition("://")
    uri = join(scheme.lower() + mark + rest)
    bare = without_options(uri)
    return bare.rstrip("/") + uri[len(bare) :]


def _weights(text: str) -> str:
    """Weights by name, path, ``kind:path`` or ``path+path``, with ``~`` expanded."""
    first, second = split_weights(text)
    if second is not None:
        return f"{_weights(first)}+{_weights(second)}"
    return _HOME.sub(lambda _: os.path.expanduser("~"), local(text))


def _on_disk(path: str) -> str:
    path = local(path)
    if is_uri(path):
        raise ValueError("this must be a local path, not a URI")
    return path


def _report(path: str) -> str:
    """Fails now, rather than after hours of work, if the file cannot be written."""
    path = _on_disk(path)
    if not path or path.endswith("/") or os.path.isdir(path):
        raise ValueError("this is a folder; name a file")
    folder = os.path.dirname(os.path.abspath(path))
    try:
        if not os.path.isdir(folder):
            raise ValueError(f"there is no folder {folder}; create it first")
        if not _exists(path):
            with tempfile.TemporaryFile(dir=folder):
                pass
        elif stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "ab"):
                pass
        elif not os.access(path, os.W_OK):  # opening a pipe would wait for its reader
            raise ValueError("no permission to write to it")
    except OSError as error:
        raise ValueError(f"it cannot be written: {error.strerror}") from error
    return path


def _exists(path: str) -> bool:
    try:
        os.lstat(path)  # unlike os.path.lexists it reports names that are too long
    except FileNotFoundError:
        return False
    return True


PathText = Annotated[str, AfterValidator(local)]
"""A path or URI."""
LocalPath = Annotated[str, AfterValidator(_on_disk)]
"""A path on this machine's disks."""
ReportPath = Annotated[str, AfterValidator(_report)]
"""A file that a command writes in addition, checked to be writable."""
WeightsText = Annotated[str, AfterValidator(_weights)]
"""Weights: a name, a hub id, or a path in one of the forms that `pipeline.io.model_weights` knows."""
CHECKS = (local, _on_disk, _report)
"""The validators of the types for paths; `WeightsText` may also be a name."""
