"""Files of a file system that fails at times: read on where reading broke off, and written as a whole."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import fs

from pipeline.errors import first_line
from pipeline.io.retrying import retry
from pipeline.io.s3 import S3Bucket

logger = logging.getLogger(__name__)
_PIECE = 8 * 2**20
_ONE_REQUEST = 5 * 2**20
"""Bytes of a file that is surely not uploaded in parts."""
KEPT = 64 * 2**20
"""Bytes of a file being written that are buffered in memory; beyond, it is buffered in a temporary file."""


def read_on(opened: pa.NativeFile, again: Callable[[], pa.NativeFile]) -> pa.NativeFile:
    """A file that is reopened by `again`, as a seekable file, at the same position when reading fails."""
    return pa.PythonFile(_Reader(opened, again), mode="r")


def write_whole(opened: Callable[[], pa.NativeFile], tidy: Callable[[], None]) -> pa.NativeFile:
    """A file that is buffered until it is closed; then all of it is written to `opened`, and retried as a whole.

    Errors such as a full disk or missing permissions are raised when it is closed.

    Args:
        opened: opens the file.
        tidy: called in the end if attempts at a large file broke off.
    """
    return pa.PythonFile(_Writer(opened, tidy), mode="w")


class _Writer(io.RawIOBase):
    """Implements `write_whole`."""

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
    """Implements `read_on`."""

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


def abort_uploads(filesystem: fs.FileSystem, path: str) -> None:
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
