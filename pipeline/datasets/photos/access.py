"""Reading the file of one photo, within the rules of its source."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.datasets.photos.rules import SCHEMES, SourceRules
from pipeline.datasets.photos.web import WEB, check_address, fetch
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri, local_path, locate, without_options
from pipeline.io.retrying import retry

_CHAINED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::")
_CHAIN_INSIDE = re.compile(r"::[A-Za-z][A-Za-z0-9+.-]*:/")
_ALIASES = {"gcs": "gs", "local": "file"}
_SERVER = re.compile(r"(?:https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?")
"""A server in an option, in the only form that all of its readers understand alike."""
_CHUNK = 1024**2
_SYSTEM = ("/proc/", "/sys/")
"""Folders of the operating system: some of their regular files are endless, and some block forever."""
_NOT_RETRIED = {errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EINVAL, errno.ENAMETOOLONG, errno.EAGAIN}


def is_chained(text: str) -> bool:
    """Whether `text` is a chained URL (``zip::file:///x``), which opens one file system through another."""
    plain = _decoded(text)
    if not is_uri(text):
        return _CHAINED.match(plain) is not None and "://" in plain
    # In a bucket or on the web `::` may be part of a name or address; fsspec would split URLs of other schemes there.
    return bool(_CHAIN_INSIDE.search(plain)) or ("::" in plain and scheme_of(text) not in (*SCHEMES, *WEB))


def scheme_of(uri: str) -> str:
    """The scheme by which the rules know a URI: ``fsspec+https`` is ``https``, and ``gcs`` is ``gs``."""
    scheme = uri.partition("://")[0].lower()
    plain = scheme.removeprefix("fsspec+")
    if plain in WEB:
        return plain
    return _ALIASES.get(scheme, scheme)


def refusal(uri: str, rules: SourceRules) -> str | None:
    """Why the rules forbid to open `uri`, judged by its spelling alone; None if they do not."""
    if "\0" in uri:
        return "not a file name: it contains a NUL character"
    if is_chained(uri):
        return "chained URLs are not opened"
    if not is_uri(uri):
        return "file: URIs must begin with file:///" if uri[:6].lower() == "file:/" else None
    scheme = scheme_of(uri)
    # `--allow-scheme sftp` also allows fsspec+sftp://; but to read S3 through fsspec must be allowed by its full name.
    plain = scheme.removeprefix("fsspec+")
    if scheme not in rules.schemes and (plain in SCHEMES or plain not in rules.schemes):
        return f"scheme not allowed: {scheme} (--allow-scheme {scheme})"
    if scheme == "file" and local_path(uri) is None:
        return "file:// names another machine; write file:///path"
    return None


def read_file(uri: str, rules: SourceRules) -> bytes:
    """The bytes of a file by its path or URI.

    Raises:
        QpertError: the rules forbid it, or the file is too large; the message is one short line.
        Exception: anything that the file system raises.
    """
    if reason := refusal(uri, rules):
        raise QpertError(reason)
    local = local_path(uri)
    if local is not None:
        return retry(lambda: _read_local(local, rules))
    if scheme_of(uri) in WEB:
        return retry(lambda: fetch(uri.removeprefix("fsspec+"), rules), patience=0)  # one site of many
    _check_endpoint(uri, rules)
    return _read_remote(uri, rules)  # its file system retries by itself


def check_place(uri: str, rules: SourceRules) -> None:
    """Check that the rules allow a tar or Parquet file to be opened, and that it is a regular file.

    A missing file passes: opening it gives a better error.

    Raises:
        QpertError: the rules forbid it, or it is not a regular file; the message is the reason.
    """
    if reason := refusal(uri, rules):
        raise QpertError(reason)
    local = local_path(uri)
    if local is None:
        _check_endpoint(uri, rules)
        return
    if os.path.exists(local):
        _check_regular(os.stat(local))
        _check_real(os.path.realpath(local), rules)


def _check_endpoint(uri: str, rules: SourceRules) -> None:
    """Check the servers that the options of a bucket's URI may name, by the same rules as addresses on the web."""
    for host, port in _endpoints(uri):
        if host not in rules.hosts and not rules.local_addresses:
            if not host:
                raise QpertError("endpoint_override is not a host")
            check_address(host, port, rules)


def _endpoints(uri: str) -> Iterator[tuple[str, int]]:
    """Host ("" if it cannot be determined with certainty) and port of the servers in the options of a URI."""
    for name, value in parse_qsl(uri[len(without_options(uri)) + 1 :], keep_blank_values=True):
        if name == "endpoint_override":
            server = _SERVER.fullmatch(value)
            yield (server[1].strip("[]").lower(), int(server[2] or 443)) if server else ("", 0)


def _read_local(path: str, rules: SourceRules) -> bytes:
    try:
        # Checked before opening, since merely opening some devices has effects, and again after it, since the file may
        # have been replaced in between.
        _check_regular(os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            info = os.fstat(descriptor)
            _check_regular(info)
            _check_real(_opened_path(descriptor, path), rules)
            _check_size(info.st_size, rules)
            chunks, limit = [], rules.max_bytes + 1
            # One byte more than its size: a file may grow while it is read, or state no size.
            while limit > 0 and (chunk := file.read(min(limit, max(_CHUNK, info.st_size + 1)))):
                chunks.append(chunk)
                limit -= len(chunk)
    except OSError as error:
        if error.errno in _NOT_RETRIED:
            raise QpertError(f"cannot read the file: {os.strerror(error.errno or 0)}") from error
        raise
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    _check_size(len(data), rules)
    return data


def _read_remote(uri: str, rules: SourceRules) -> bytes:
    filesystem, path = locate(uri)
    with filesystem.open_input_file(path) as file:
        _check_size(file.size(), rules)
        data = bytes(file.read(min(file.size(), rules.max_bytes) + 1))
    _check_size(len(data), rules)
    return data


def _check_size(size: int, rules: SourceRules) -> None:
    if size > rules.max_bytes:
        raise QpertError(f"file too large: {size} bytes, limit {rules.max_bytes}")


def _check_regular(info: os.stat_result) -> None:
    if stat.S_ISREG(info.st_mode):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    raise QpertError(f"cannot read the file: it is {kinds.get(stat.S_IFMT(info.st_mode), 'a device')}")


def _check_real(path: str, rules: SourceRules) -> None:
    if path.startswith(_SYSTEM):
        raise QpertError("cannot read the file: it belongs to the operating system")
    if rules.root is not None and not path.startswith(os.path.join(os.path.realpath(rules.root), "")):
        raise QpertError("outside of --root")


def _opened_path(descriptor: int, path: str) -> str:
    """The real path of the open file; by its descriptor if the system tells, so that no link can change it."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    except OSError:
        return os.path.realpath(path)


def _decoded(text: str) -> str:
    """`text` without percent-encoding, also if it was encoded several times."""
    for _ in range(8):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def hosts_of(uri: str) -> Iterator[str]:
    """The hosts that a URI names: its own, and the endpoint in its options."""
    if not is_uri(uri):
        return
    if host := urlsplit(without_options(uri)).hostname:
        yield host
    yield from (host for host, _ in _endpoints(uri) if host)
