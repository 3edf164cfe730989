"""Files and folders by local path or by any URI that pyarrow opens (``s3://``, ``gs://``, ``hdfs://``, ``file://``)."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache

from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.io.exclusive import check_held, local_lock, remote_lock
from pipeline.io.retrying_files import is_object_store, retry_on, retrying
from pipeline.io.uris import is_uri as is_uri
from pipeline.io.uris import join as join
from pipeline.io.uris import keys_in, masked, take_apart
from pipeline.io.uris import split as split
from pipeline.io.uris import without_options as without_options

_READS = 10
"""Of a file that is replaced each time."""


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
    if keys_in(path):
        raise QpertError(
            f"{masked(path)}: the key in this URI would be written into features and messages. Leave it out, and set"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    uri = join(path)
    if uri.startswith("s3://"):
        head, inner, options = take_apart(uri)
        filesystem = _bucket(head + options, tuple(item for item in os.environ.items() if item[0][:4] == "AWS_"))
        return filesystem, (head.removeprefix("s3://") + inner).rstrip("/")
    with answering(path, "cannot open the URI:"):
        filesystem, inner = fs.FileSystem.from_uri(uri)
    if not isinstance(filesystem, fs.LocalFileSystem):
        filesystem = retrying(filesystem)
    return filesystem, inner.rstrip("/") or inner


@lru_cache(maxsize=64)
def _bucket(uri: str, variables: tuple[tuple[str, str], ...]) -> fs.FileSystem:
    """The file system of a bucket, kept because a new one for every photo would mean a new connection for each.

    Args:
        uri: scheme, bucket and options.
        variables: of the environment, on which it depends.
    """
    with answering(uri, "cannot open the URI:"):
        filesystem, _ = fs.FileSystem.from_uri(uri)
    return retrying(filesystem)


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
        raise QpertError(f"{problem} {masked(path)} ({kind}{masked(first_line(error))[:300]}{_hint(error)})") from error


def _hint(error: Exception) -> str:
    """What to do where a store refuses without saying why."""
    return "; may the credentials in use do this?" if "ACCESS_DENIED" in str(error) else ""


def local_path(path: str) -> str | None:
    """The local path of `path`, a path or a URI; None if it is not on this machine."""
    if not is_uri(path):
        return os.path.abspath(os.path.expanduser(path))
    head, inner, _ = take_apart(path)
    scheme, _, host = head.partition("://")
    local = scheme.lower() in ("file", "local", "fsspec+file", "fsspec+local") and host.lower() in ("", "localhost")
    return os.path.abspath(inner) if local else None


def real_place(path: str) -> str:
    """The canonical name of a file or folder: with local links resolved, and URIs without options or credentials."""
    local = local_path(path)
    if local is not None:
        return os.path.realpath(local)
    head, inner, _ = take_apart(path)
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
        """The content of a file; None if it does not exist.

        In a bucket, pyarrow asks for the size and then for so many bytes. If the file is replaced by a shorter one in
        between, they end in whatever was in memory, and if by a longer one, it is cut off. So the size is asked again.
        """
        path = self.at(name)
        for _ in range(_READS):
            try:
                with self.filesystem.open_input_stream(path) as stream:
                    data = bytes(stream.read())
            except FileNotFoundError:
                return None
            if not is_object_store(self.filesystem) or self.filesystem.get_file_info(path).size == len(data):
                return data
        raise OSError(f"{self.join(name)} was replaced again and again while it was read")

    def write_atomically(self, name: str, data: bytes) -> None:
        """Like the function of this name; not without the lock, if this process took one of the folder."""
        self.check_lock()
        _replace(self.filesystem, self.at(name), data)

    def delete(self, name: str) -> None:
        """Delete a file, if it exists; not without the lock, if this process took one of the folder."""
        self.check_lock()
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.at(name))

    def files(self, suffix: str = "") -> list[fs.FileInfo]:
        """The files directly in this folder whose names end with `suffix`, sorted by path; none if it is missing."""
        infos = self.filesystem.get_file_info(fs.FileSelector(self.path, recursive=False, allow_not_found=True))
        files = [info for info in infos if info.type == fs.FileType.File and info.path.endswith(suffix)]
        return sorted(files, key=lambda info: str(info.path))

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other processes that use this from writing here; a missing folder is created.

        The operating system drops the lock when the process ends, even if it is killed. In a bucket it ends a minute
        after that, see `pipeline.io.bucket_lock`; where a store has no locks, a warning says so.

        Raises:
            QpertError: another process holds the lock.
            OSError: the folder cannot be written to.
        """
        local = local_path(self.root)
        return remote_lock(self.root) if local is None else local_lock(local, self.root)

    def check_lock(self) -> None:
        """Raises a QpertError if this process has lost the lock that it took of this folder, or of one above it."""
        check_held(self.root)


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file `path` by `data`: readers see the old file or the new one, never a part, even after a power cut.

    The folder is created if it is missing.
    """
    _replace(*locate(path), data)


def _replace(filesystem: fs.FileSystem, path: str, data: bytes) -> None:
    if is_object_store(filesystem):
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
        return
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
