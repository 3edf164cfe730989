"""A file system that wraps another one and retries operations that fail with a transient error.

Storage is retried here and nowhere else: users of such a file system must not retry once more, and the clients of
object stores below it are told not to: pyarrow's for S3 would make 31 requests, in six seconds, of each of our tries.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import first_line
from pipeline.io.retrying import retry, transient
from pipeline.io.s3 import S3Bucket
from pipeline.io.storage_waits import Listener, listen

Result = TypeVar("Result")
logger = logging.getLogger(__name__)
_PIECE = 8 * 2**20
_ONE_REQUEST = 5 * 2**20
"""Bytes of a file that is surely not uploaded in parts."""
KEPT = 64 * 2**20
"""Bytes of a file being written that are buffered in memory; beyond, it is buffered in a temporary file."""
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
        return _readable(lambda: self.inner.open_input_stream(path, compression=None), self._at(path))

    def open_input_file(self, path: str) -> pa.NativeFile:
        return _readable(lambda: self.inner.open_input_file(path), self._at(path))

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        def opened() -> pa.NativeFile:
            return self.inner.open_output_stream(path, compression=None, metadata=metadata)

        return pa.PythonFile(_Writer(opened, lambda: _abort_uploads(self.inner, path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        return retry(lambda: self.inner.open_append_stream(path, compression=None, metadata=metadata))

    def _gone(self, path: str) -> bool:
        return bool(self.inner.get_file_info(path).type == fs.FileType.NotFound)

    def _at(self, path: str) -> Callable[[], pa.NativeFile]:
        return lambda: self.inner.open_input_file(path)


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


def _abort_uploads(filesystem: fs.FileSystem, path: str) -> None:
    """Abort uploads in parts to `path` that broke off: they are in no listing, and are paid for.

    pyarrow cannot. It is left undone where the store refuses: the file itself is there.
    """
    if filesystem.type_name != "s3":
        return
    _, (settings,) = filesystem.__reduce__()
    options = {name: settings[name] for name in ("region", "scheme", "endpoint_override") if settings[name]}
    name, _, key = path.partition("/")
    try:
        client = S3Bucket.of(f"s3://{name}?{urlencode(options)}").client
        for upload in client.list_multipart_uploads(Bucket=name, Prefix=key).get("Uploads", []):
            if upload["Key"] == key:
                client.abort_multipart_upload(Bucket=name, Key=key, UploadId=upload["UploadId"])
    except Exception as error:  # boto3's have no common base
        logger.debug("uploads of %s that broke off are left: %s", path, first_line(error))


def _arrived(inner: fs.FileSystem, listener: Listener | None) -> _Retrying:
    if listener is not None:
        listen(listener)
    return _Retrying(inner, listener)


def _once(call: Callable[[], None], done: Callable[[], bool]) -> None:
    """Retry what cannot be done twice: an attempt that reported a failure may have succeeded all the same.

    That is likely in buckets, where the last of the requests of a move writes a marker for the folder.
    """
    failed = False

    def attempt() -> None:
        nonlocal failed
        try:
            call()
        except OSError as error:
            if failed and not transient(error) and done():
                return
            failed = failed or transient(error)
            raise

    retry(attempt)


def _readable(first: Callable[[], pa.NativeFile], again: Callable[[], pa.NativeFile]) -> pa.NativeFile:
    return pa.PythonFile(_Reader(retry(first), again), mode="r")


class _Writer(io.RawIOBase):
    """A buffer that is written to the file `opened` when it is closed.

    Errors such as a full disk or missing permissions are raised by `close`.

    Args:
        opened: opens the file.
        tidy: called in the end if attempts at a large file broke off.
    """

    def __init__(self, opened: Callable[[], pa.NativeFile], tidy: Callable[[], None]) -> None:
        self._opened, self._tidy, self._attempts = opened, tidy, 0
        self._kept = tempfile.SpooledTemporaryFile(max_size=KEPT)  # noqa: SIM115 - closed with this file

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._kept.tell()

    def write(self, data: Any) -> int:
        return self._kept.write(data)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        try:
            size = self._kept.tell()
            retry(self._write_all)
            if self._attempts > 1 and size > _ONE_REQUEST:
                self._tidy()
        finally:
            self._kept.close()

    def _write_all(self) -> None:
        self._attempts += 1
        self._kept.seek(0)
        with self._opened() as stream:
            while data := self._kept.read(_PIECE):
                stream.write(data)


class _Reader(io.RawIOBase):
    """An open file that is reopened at the same position when reading fails.

    Args:
        file: the file, open.
        again: reopens it as a seekable file.
    """

    def __init__(self, file: pa.NativeFile, again: Callable[[], pa.NativeFile]) -> None:
        self._file: pa.NativeFile | None = file
        self._again, self._place = again, 0
        self._seekable = bool(file.seekable())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += retry(lambda: self._opened().size())
        elif whence == io.SEEK_CUR:
            offset += self._place
        self._place = offset
        self._opened().seek(offset)
        return offset

    def read(self, size: int | None = -1) -> bytes:
        data = retry(lambda: self._read(None if size is None or size < 0 else size))
        self._place += len(data)
        return data

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()

    def _read(self, size: int | None) -> bytes:
        try:
            return bytes(self._opened().read(size))
        except OSError:
            self._file = None
            raise

    def _opened(self) -> pa.NativeFile:
        if self._file is None:
            self._file = self._again()
            self._file.seek(self._place)
        return self._file
