"""Files and folders by local path or by any URI that pyarrow opens (``s3://``, ``gs://``, ``hdfs://``, ``file://``)."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout
from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.io.retrying_files import retry_on, retrying

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_OPTIONS = re.compile(r"\?\w+=.*", re.DOTALL)
_LEGAL = "/!$&'()*+,;=:@"
"""Characters that need no encoding in the path of a URI, besides letters, digits and ``_.-~``."""


def is_uri(path: str) -> bool:
    """Whether `path` names a file system by its scheme (a Windows drive letter is not a scheme)."""
    return _SCHEME.match(path) is not None


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The file system that holds `path`, and the path within it; local paths become absolute.

    The file system of a URI retries operations that fail with a transient error (see `pipeline.io.retrying_files`). A
    URI may end in options of the file system, such as ``?region=eu-west-1``. Characters that are not allowed in a URI,
    such as blanks, are taken as part of the path. ``fsspec+SCHEME://`` opens any file system that fsspec knows.

    Raises:
        QpertError: no file system is known for the URI's scheme, a package for it is missing, or it cannot be reached.
    """
    if not is_uri(path):
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))
    with answering(path, "cannot open the URI:"):
        filesystem, inner = fs.FileSystem.from_uri(join(path))
    if not isinstance(filesystem, fs.LocalFileSystem):
        filesystem = retrying(filesystem)
    return filesystem, inner.rstrip("/") or inner


def file_type(path: str) -> fs.FileType:
    """Whether `path` is a file, a folder, or does not exist.

    Raises:
        QpertError: its file system does not answer.
    """
    filesystem, inner = locate(path)
    with answering(path):
        return filesystem.get_file_info(inner).type


@contextmanager
def answering(path: str, problem: str = "cannot look at") -> Iterator[None]:
    """Make one QpertError of whatever the file system of `path` raises: those of fsspec raise what they like."""
    try:
        yield
    except (QpertError, UnicodeDecodeError):  # a name that is not UTF-8 is for the caller to judge
        raise
    except Exception as error:
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise QpertError(f"{problem} {path} ({kind}{first_line(error)[:300]})") from error


def local_path(path: str) -> str | None:
    """The local path of `path`, a path or a URI; None if it is not on this machine."""
    if not is_uri(path):
        return os.path.abspath(os.path.expanduser(path))
    head, inner, _ = _take_apart(path)
    scheme, _, host = head.partition("://")
    local = scheme.lower() in ("file", "local", "fsspec+file", "fsspec+local") and host.lower() in ("", "localhost")
    return os.path.abspath(inner) if local else None


def real_place(path: str) -> str:
    """The canonical name of a file or folder: with local links resolved, and URIs without options or credentials."""
    local = local_path(path)
    if local is not None:
        return os.path.realpath(local)
    head, inner, _ = _take_apart(path)
    scheme, _, host = head.partition("://")
    return f"{scheme.lower()}://{host.rpartition('@')[2]}{posixpath.normpath(inner) if inner else ''}".rstrip("/")


def is_inside(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or below it, by `real_place`."""
    place, above = real_place(path), real_place(folder)
    return place == above or place.startswith(above.rstrip("/") + "/")


def absolute(path: str) -> str:
    """`path` itself if it is a URI, else the absolute local path, which does not depend on the current directory."""
    return path if is_uri(path) else locate(path)[1]


def as_uri(path: str) -> str:
    """`path` as a valid URI, even if it is local."""
    return join(path) if is_uri(path) else join("file:///", absolute(path).lstrip("/"))


def join(base: str, *parts: str) -> str:
    """`base` (a path or a URI) extended by `parts`, which are plain names and paths; in a URI they get encoded."""
    if not is_uri(base):
        return posixpath.join(base.rstrip("/") or "/", *parts)
    head, inner, options = _take_apart(base)
    return head + (quote("/".join([inner.rstrip("/"), *parts]), _LEGAL) or "/") + options


def split(path: str) -> tuple[str, str]:
    """The folder of `path` (a path or a URI) and the decoded name in it: the inverse of `join`."""
    if not is_uri(path):
        return posixpath.split(path)
    head, inner, options = _take_apart(path)
    folder, name = posixpath.split(inner.rstrip("/"))
    return join(head + options, folder.strip("/")), name


def without_options(path: str) -> str:
    """`path` without the options at the end of a URI."""
    return _OPTIONS.sub("", path) if is_uri(path) else path


def _take_apart(uri: str) -> tuple[str, str, str]:
    """Scheme and host, the decoded path (which begins with a slash if it is not empty), and the options."""
    bare = without_options(uri)
    scheme, _, rest = bare.partition("://")
    host, slash, inner = rest.partition("/")
    return f"{scheme}://{host}", slash + unquote(inner), uri[len(bare) :]


@dataclass(frozen=True)
class Folder:
    """A folder or bucket, located once and handed on.

    Attributes:
        root: the path or URI as the user wrote it, for messages.
        filesystem: what holds it.
        path: the folder in that file system.
    """

    root: str
    filesystem: fs.FileSystem = field(compare=False, repr=False)
    path: str

    @classmethod
    def open(cls, root: str | Folder) -> Folder:
        """Locate `root`, which need not exist; a `Folder` is returned as it is.

        Raises:
            QpertError: see `locate`.
        """
        return root if isinstance(root, Folder) else cls(root, *locate(root))

    def subfolder(self, *names: str) -> Folder:
        """A folder below this one."""
        return Folder(self.join(*names), self.filesystem, self.at(*names))

    def join(self, *names: str) -> str:
        """The path or URI of something below this folder, in the words of `root`."""
        return join(self.root, *names)

    def at(self, *names: str) -> str:
        """The path of something below this folder in its file system."""
        return posixpath.join(self.path, *names)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist."""
        try:
            with self.filesystem.open_input_stream(self.at(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write_atomically(self, name: str, data: bytes) -> None:
        """Like the function of this name."""
        _replace(self.filesystem, self.at(name), data)

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.at(name))

    def files(self, suffix: str = "") -> list[fs.FileInfo]:
        """The files directly in this folder whose names end with `suffix`, sorted by path; none if it is missing."""
        infos = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=False, allow_not_found=True))
        files = [info for info in infos if info.type == fs.FileType.File and info.path.endswith(suffix)]
        return sorted(files, key=lambda info: str(info.path))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes that use this from writing here; a missing folder is created.

        The operating system drops the lock when the process ends, even if it is killed. Object stores have no locks:
        there, nothing is prevented.

        Raises:
            QpertError: another process holds the lock.
        """
        if is_uri(self.root):
            yield
            return
        os.makedirs(self.path, exist_ok=True)
        try:
            lock = FileLock(self.at(".lock"), timeout=0)
            lock.acquire()
        except Timeout:
            raise QpertError(
                f"another run is writing to {self.root}; wait until it ends, or choose another --out"
            ) from None
        try:
            yield
        finally:
            lock.release()


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file `path` by `data`: readers see the old file or the new one, never a part, even after a power cut.

    The folder is created if it is missing.
    """
    _replace(*locate(path), data)


def _replace(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"

    def write() -> None:
        filesystem.create_dir(posixpath.dirname(path), recursive=True)
        try:
            with filesystem.open_output_stream(temporary) as stream:
                stream.write(data)
            if isinstance(filesystem, fs.LocalFileSystem):  # or the new name may reach the disk before the content
                with open(temporary, "rb") as written:
                    os.fsync(written.fileno())
        except OSError:
            with suppress(OSError):
                filesystem.delete_file(temporary)
            raise
        filesystem.move(temporary, path)

    retry_on(filesystem, write)
