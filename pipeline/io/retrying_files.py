"""A file system that wraps another one and retries operations that fail with a transient error.

Storage is retried here and nowhere else: users of such a file system must not retry once more, and the clients of
object stores below it are told not to: pyarrow's for S3 would make 31 requests, in six seconds, of each of our tries.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from pipeline.io.retried_streams import abort_uploads, read_on, write_whole
from pipeline.io.retrying import is_missing, retry
from pipeline.io.storage_waits import Listener, listen

Result = TypeVar("Result")
_OBJECT_STORES = {"s3", "gcs", "abfs"}
_GCS_RETRIES = timedelta(seconds=2)
"""For which Google's client retries by itself: it takes no zero."""


def retrying(filesystem: fs.FileSystem, listener: Listener | None = None) -> fs.FileSystem:
    """`filesystem` with every operation retried, and reading resumed where it failed.

    What is written to a file is buffered until the file is closed; then all of it is written, and retried as a whole.

    Args:
        filesystem: to wrap.
        listener: is told of all waits of the processes that the file system is sent to, see `storage_waits.listen`.
    """
    if is_retrying(filesystem):
        if listener is None:
            return filesystem
        filesystem = filesystem.handler.inner
    return fs.PyFileSystem(_Retrying(filesystem, listener))


def is_retrying(filesystem: fs.FileSystem) -> bool:
    """Whether the file system retries by itself."""
    return isinstance(filesystem, fs.PyFileSystem) and isinstance(filesystem.handler, _Retrying)


def is_object_store(filesystem: fs.FileSystem) -> bool:
    """Whether the file system shows a file only when all of it is written, and has no folders of its own."""
    return filesystem.type_name.rpartition("+")[2] in _OBJECT_STORES


def retry_on(filesystem: fs.FileSystem, call: Callable[[], Result]) -> Result:
    """Call `call`, which uses `filesystem`, and retry it unless the file system does so itself."""
    return call() if is_retrying(filesystem) else retry(call)


class _Retrying(fs.FileSystemHandler):  # type: ignore[misc]
    """Implements the operations for pyarrow."""

    def __init__(self, inner: fs.FileSystem, listener: Listener | None = None) -> None:
        self.inner, self.listener = _not_retrying(inner), listener

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.inner, self.listener)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Retrying) and bool(self.inner == other.inner)

    def __hash__(self) -> int:
        return hash(self.inner.type_name)

    def get_type_name(self) -> str:
        return f"retrying+{self.inner.type_name}"

    def normalize_path(self, path: str) -> str:
        return str(self.inner.normalize_path(path))

    def get_file_info(self, paths: Sequence[str]) -> list[fs.FileInfo]:
        return retry(lambda: self.inner.get_file_info(paths))

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return retry(lambda: self.inner.get_file_info(selector))

    def create_dir(self, path: str, recursive: bool) -> None:
        # In a bucket, pyarrow would write a marker for the folder and for each above it: requests that must all succeed
        # in one try, and that a key for one prefix forbids. A file is written there without them.
        if not is_object_store(self.inner):
            retry(lambda: self.inner.create_dir(path, recursive=recursive))

    def delete_dir(self, path: str) -> None:
        _once(lambda: self.inner.delete_dir(path), lambda: self._gone(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        # A folder of a bucket goes with the last file in it.
        _once(lambda: self.inner.delete_dir_contents(path, missing_dir_ok=missing_dir_ok), lambda: self._gone(path))

    def delete_root_dir_contents(self) -> None:
        raise PermissionError("the root of a file system is not deleted")

    def delete_file(self, path: str) -> None:
        _once(lambda: self.inner.delete_file(path), lambda: self._gone(path))

    def move(self, src: str, dest: str) -> None:
        _once(lambda: self.inner.move(src, dest), lambda: self._gone(src) and not self._gone(dest))

    def copy_file(self, src: str, dest: str) -> None:
        retry(lambda: self.inner.copy_file(src, dest))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self._readable(path, lambda: self.inner.open_input_stream(path, compression=None))

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self._readable(path, lambda: self.inner.open_input_file(path))

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        def opened() -> pa.NativeFile:
            return self.inner.open_output_stream(path, compression=None, metadata=metadata)

        return write_whole(opened, lambda: abort_uploads(self.inner, path))

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return retry(lambda: self.inner.open_append_stream(path, compression=None, metadata=metadata))

    def _gone(self, path: str) -> bool:
        return bool(self.inner.get_file_info(path).type == fs.FileType.NotFound)

    def _readable(self, path: str, opened: Callable[[], pa.NativeFile]) -> pa.NativeFile:
        return read_on(retry(opened), lambda: self.inner.open_input_file(path))


def _not_retrying(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The same without retries of its own. Needed after unpickling as well, which forgets the strategy."""
    if filesystem.type_name == "s3":
        _, (settings,) = filesystem.__reduce__()
        # Opened late, a small file is one request instead of three, and leaves no upload behind that never completes.
        settings = settings | {"allow_delayed_open": True}
        return fs.S3FileSystem(**settings, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1))
    if filesystem.type_name == "gcs":
        _, (settings,) = filesystem.__reduce__()
        return fs.GcsFileSystem(**settings | {"retry_time_limit": settings["retry_time_limit"] or _GCS_RETRIES})
    return filesystem


def _arrived(inner: fs.FileSystem, listener: Listener | None) -> _Retrying:
    if listener is not None:
        listen(listener)
    return _Retrying(inner, listener)


def _once(call: Callable[[], None], done: Callable[[], bool]) -> None:
    """Retry what cannot be done twice: an attempt that reported a failure may have succeeded all the same.

    That is likely in buckets, where the last of the requests of a move writes a marker for the folder.

    Raises:
        FileNotFoundError: what is to be changed does not exist, however the store says so.
    """
    failed = False

    def attempt() -> None:
        nonlocal failed
        try:
            call()
        except OSError as error:
            if not is_missing(error):
                failed = True
                raise
            if not failed or not done():
                raise FileNotFoundError(errno.ENOENT, str(error)) from error

    retry(attempt)
