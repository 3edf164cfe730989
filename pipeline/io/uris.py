"""The text of paths and URIs: taking them apart, putting them together, and hiding the keys that some hold."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, unquote

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_OPTIONS = re.compile(r"\?\w+=.*", re.DOTALL)
_LEGAL = "/!$&'()*+,;=:@"
"""Characters that need no encoding in the path of a URI, besides letters, digits and ``_.-~``."""
_KEYS = re.compile(r"\b(s3://)([^\s/@:'\"]+):([^\s@'\"]+)@", re.IGNORECASE)
"""Access key and secret of a URI. Names of buckets have no colon, so a slash that is not encoded is the secret's."""
_USER = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")


def is_uri(path: str) -> bool:
    """Whether `path` names a file system by its scheme (a Windows drive letter is not a scheme)."""
    return _SCHEME.match(path) is not None


def join(base: str, *parts: str) -> str:
    """`base` (a path or a URI) extended by `parts`, which are plain names and paths; in a URI they get encoded."""
    if not is_uri(base):
        return posixpath.join(base.rstrip("/") or "/", *parts)
    head, inner, options = take_apart(base)
    return head + (quote("/".join([inner.rstrip("/"), *parts]), _LEGAL) or "/") + options


def split(path: str) -> tuple[str, str]:
    """The folder of `path` (a path or a URI) and the decoded name in it: the inverse of `join`."""
    if not is_uri(path):
        return posixpath.split(path)
    head, inner, options = take_apart(path)
    folder, name = posixpath.split(inner.rstrip("/"))
    return join(head + options, folder.strip("/")), name


def without_options(path: str) -> str:
    """`path` without the options at the end of a URI."""
    return _OPTIONS.sub("", path) if is_uri(path) else path


def take_apart(uri: str) -> tuple[str, str, str]:
    """Scheme and host, the decoded path (which begins with a slash if it is not empty), and the options."""
    bare = without_options(uri)
    scheme, _, rest = bare.partition("://")
    host, slash, inner = rest.partition("/")
    return f"{scheme}://{host}", slash + unquote(inner), uri[len(bare) :]


def keys_in(uri: str) -> tuple[str, str] | None:
    """The access key and the secret in the URI of a bucket (``s3://KEY:SECRET@bucket``), decoded; None without."""
    match = _KEYS.match(uri)
    return match and (unquote(match[2]), unquote(match[3]))


def without_keys(uri: str) -> str:
    """The URI of a bucket without the access key and the secret in it."""
    match = _KEYS.match(uri)
    return uri if match is None else match[1] + uri[match.end() :]


def masked(text: str) -> str:
    """`text` with the keys, users and passwords of all URIs in it replaced, for messages."""
    return _USER.sub("***", _KEYS.sub(r"\1***@", text))
