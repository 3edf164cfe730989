"""Reading one photo's file, and no more than the rules of its source let be read."""

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
from pipeline.io.retrying import patiently

_CHAINED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::")
_CHAIN_INSIDE = re.compile(r"::[A-Za-z][A-Za-z0-9+.-]*:/")
_ALIASES = {"gcs": "gs", "local": "file"}
_SERVER = re.compile(r"(?:https?://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?")
"""A server in an option, in the one form that all who read it understand alike."""
_CHUNK = 1024**2
_SYSTEM = ("/proc/", "/sys/")
"""Below these regular files are no files of anybody's: some have no end, some wait for ever."""
_NOT_TRIED_AGAIN = {errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EINVAL, errno.ENAMETOOLONG, errno.EAGAIN}


def is_chained(text: str) -> bool:
    """Whether `text` is a chained URL (``zip::file:///x``), which opens one file system through another."""
    plain = _decoded(text)
    if not is_uri(text):
        return _CHAINED.match(plain) is not None and "://" in plain
    # In a bucket and on the web `::` may stand in a name or address; what fsspec opens it takes apart there.
    return bool(_CHAIN_INSIDE.search(plain)) or ("::" in plain and scheme_of(text) not in (*SCHEMES, *WEB))


def scheme_of(uri: str) -> str:
    """The scheme by which the rules know a URI: ``fsspec+https`` is ``https``, and ``gcs`` is ``gs``."""
    scheme = uri.partition("://")[0].lower()
    plain = scheme.removeprefix("fsspec+")
    if plain in WEB:
        return plain
    return _ALIASES.get(scheme, scheme)


def refusal(uri: str, rules: SourceRules) -> str | None:
    """Why the rules do not let `uri` be opened, as far as its spelling says; None where it does not."""
    if "\0" in uri:
        return "not a file name: it holds a NUL character"
    if is_chained(uri):
        return "chained URLs are not opened"
    if not is_uri(uri):
        return "file: URIs begin with file:///" if uri[:6].lower() == "file:/" else None
    scheme = scheme_of(uri)
    # `--allow-scheme sftp` lets fsspec+sftp:// through; but what fsspec does of its own with S3 must be asked for.
    plain = scheme.removeprefix("fsspec+")
    if scheme not in rules.schemes and (plain in SCHEMES or plain not in rules.schemes):
        return f"scheme not allowed: {scheme} (--allow-scheme {scheme})"
    if scheme == "file" and local_path(uri) is None:
        return "file:// names another machine; write file:///path"
    return None


def read_file(uri: str, rules: SourceRules) -> bytes:
    """The bytes of a file by its path or URI.

    Raises:
        QpertError: the rules forbid it, or it is too large; the message is one short line.
        Exception: whatever its file system raises.
    """
    if reason := refusal(uri, rules):
        raise QpertError(reason)
    local = local_path(uri)
    if local is not None:
        return patiently(lambda: _read_local(local, rules))
    if scheme_of(uri) in WEB:
        return patiently(lambda: fetch(uri.removeprefix("fsspec+"), rules))
    _check_endpoint(uri, rules)
    return _read_remote(uri, rules)  # its file system tries again by itself


def check_place(uri: str, rules: SourceRules) -> None:
    """Refuse a file of many photos that the rules do not let be opened, or that is no regular file.

    Raises:
        QpertError: with the reason; none where nothing is there, which opening it says better.
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
    """Options of a bucket's URI may name the server to ask: an address for which the same holds as on the web."""
    for host, port in _endpoints(uri):
        if host not in rules.hosts and not rules.local_addresses:
            if not host:
                raise QpertError("endpoint_override is not a host")
            check_address(host, port, rules)


def _endpoints(uri: str) -> Iterator[tuple[str, int]]:
    """Host ("" where it cannot be told for sure) and port of the servers in the options of a URI."""
    for name, value in parse_qsl(uri[len(without_options(uri)) + 1 :], keep_blank_values=True):
        if name == "endpoint_override":
            server = _SERVER.fullmatch(value)
            yield (server[1].strip("[]").lower(), int(server[2] or 443)) if server else ("", 0)


def _read_local(path: str, rules: SourceRules) -> bytes:
    try:
        # Before it is opened: opening some devices does something already. And after: it may be another file by then.
        _check_regular(os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(descriptor, "rb", buffering=0) as file:
            info = os.fstat(descriptor)
            _check_regular(info)
            _check_real(_opened_path(descriptor, path), rules)
            _check_size(info.st_size, rules)
            chunks, limit = [], rules.max_bytes + 1
            # One byte more than it has: a file may be written to while it is read, or say nothing of its size.
            while limit > 0 and (chunk := file.read(min(limit, max(_CHUNK, info.st_size + 1)))):
                chunks.append(chunk)
                limit -= len(chunk)
    except OSError as error:
        if error.errno in _NOT_TRIED_AGAIN:
            raise QpertError(f"cannot read the file: {os.strerror(error.errno or 0)}") from error
        raise
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    _check_size(len(data), rules)
    return data


def _read_remote(uri: str, rules: SourceRules) -> bytes:
    filesystem, path = locate(uri)  # which tries again by itself
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
        raise QpertError("cannot read the file: it is one of the operating system")
    if rules.root is not None and not path.startswith(os.path.join(os.path.realpath(rules.root), "")):
        raise QpertError("outside of --root")


def _opened_path(descriptor: int, path: str) -> str:
    """Where the file lies that was opened; by its descriptor where the system tells, so that no link can change it."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    except OSError:
        return os.path.realpath(path)


def _decoded(text: str) -> str:
    """Without percent signs, however often it was encoded."""
    for _ in range(8):
        plain = unquote(text)
        if plain == text:
            break
        text = plain
    return text


def hosts_of(uri: str) -> Iterator[str]:
    """The servers that a URI names: its host, and the endpoint in its options."""
    if not is_uri(uri):
        return
    if host := urlsplit(without_options(uri)).hostname:
        yield host
    yield from (host for host, _ in _endpoints(uri) if host)
