"""The bytes of a tar from front to back, decompressed on the fly, with limits against hostile archives."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
from typing import IO, Any, cast

import pyarrow as pa

from pipeline.io.reading_ahead import ReadAhead

MAX_HEADER = 2**20
"""Bytes that the headers of one member may take: long names, extended attributes, maps of sparse files."""
MAX_ZEROS = 2**20
"""Bytes of zeros between two concatenated archives; more zeros mark the end."""
_RATIO, _FREE = 200, 2**30
"""A compressed tar may always unpack to `_FREE` bytes, and beyond that to `_RATIO` times its size: photos hardly
shrink."""
_MAX_DIGITS = 100
_BLOCK = 512
_STEP = 2**20


class TarStream:
    """The file object that `tarfile` reads from: moves forward only, and counts bytes.

    Compression (gzip, bzip2, xz or zstd) is recognised by the first bytes.
    """

    mode = "rb"
    closed = False
    name = None

    def __init__(self, raw: pa.NativeFile | ReadAhead) -> None:
        self._raw = raw
        self._ahead = bytes(raw.read(_BLOCK))
        self._at = 0
        self._left: int | None = None
        self.zeros = 0
        start = self._ahead
        self._packed = _CountedStream(start, raw)
        rest = cast("IO[bytes]", self._packed)
        if start[257:262] == b"ustar":  # not compressed, even if the first member is called BZh.jpg
            self._source: Any = raw
            return
        if start[:2] == b"\x1f\x8b":
            self._source = gzip.GzipFile(fileobj=rest)
        elif start[:3] == b"BZh":
            self._source = bz2.BZ2File(rest)
        elif start[:6] == b"\xfd7zXZ\0":
            self._source = lzma.LZMAFile(rest)  # noqa: SIM115 - the archive's context closes the stream below
        elif start[:4] == b"\x28\xb5\x2f\xfd":
            self._source = pa.CompressedInputStream(pa.PythonFile(rest, "r"), "zstd")
        else:
            self._source = raw
            return
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer at the end.

        Raises:
            tarfile.ReadError: the headers are too long, or a compressed tar unpacks to far more than its size.
        """
        size = max(size, 0)
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise tarfile.ReadError(f"headers of more than {MAX_HEADER} bytes")
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        parts = [data]
        missing = size - len(data)
        while missing > 0:
            part = self._source.read(min(missing, _STEP))
            if not part:
                break
            parts.append(bytes(part))
            missing -= len(part)
            self._check_ratio(self._at + size - missing)
        data = b"".join(parts)
        self._at += len(data)
        return data

    def tell(self) -> int:
        """Position in the unpacked archive, in bytes."""
        return self._at

    def seek(self, position: int) -> int:
        """Skip forward to `position`, and return the position reached.

        Raises:
            tarfile.ReadError: `position` lies behind the current one.
        """
        if position < self._at:
            raise tarfile.ReadError("members overlap")
        while position > self._at:
            if not self.read(min(position - self._at, _STEP)):
                break
        return self._at

    def begin_header(self) -> None:
        """Allow only `MAX_HEADER` bytes to be read until `end_header`."""
        self._left = MAX_HEADER

    def end_header(self) -> None:
        """Lift the limit of `begin_header`."""
        self._left = None

    def check_extended(self, size: int) -> None:
        """Peek at an extended header of `size` bytes that comes next.

        Raises:
            tarfile.ReadError: the header holds a number so long that parsing it would keep `tarfile` busy for hours.
        """
        data = self.read(min(size, MAX_HEADER + 1))
        if any(len(digits) > _MAX_DIGITS for digits in re.findall(rb"\d+", data)):
            raise tarfile.ReadError("a number of too many digits in a header")
        self._at -= len(data)
        self._ahead = data + self._ahead
        if self._left is not None:
            self._left += min(size, MAX_HEADER + 1)

    def _check_ratio(self, unpacked: int) -> None:
        if self._source is not self._raw and unpacked > _FREE and unpacked > _RATIO * self._packed.taken:
            raise tarfile.ReadError(f"unpacks to more than {_RATIO} times its size")


class _CountedStream:
    """A stream whose first bytes were read already; counts the bytes taken from it."""

    closed = False

    def __init__(self, ahead: bytes, raw: pa.NativeFile | ReadAhead) -> None:
        self._ahead, self._raw = ahead, raw
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            size = _STEP
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        if len(data) < size:
            data += bytes(self._raw.read(size - len(data)))
        self.taken += len(data)
        return data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Header(tarfile.TarInfo):
    """A member's header. `tarfile` takes a damaged header for the end of the archive; here it is an error."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Any:
        """See `tarfile.TarInfo`. The zeros at the end of an archive may be followed by another one, or by anything."""
        stream = cast("TarStream", tarfile_.fileobj)
        first = stream._left is None
        if first:
            stream.begin_header()
        try:
            header = super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            stream.zeros += _BLOCK
            if stream.zeros > MAX_ZEROS:
                raise tarfile.EmptyHeaderError("the end") from None  # type: ignore[attr-defined]
            raise
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:  # type: ignore[attr-defined]
            if first and stream.zeros:
                raise tarfile.EmptyHeaderError("the end") from None  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error
        finally:
            if first:
                stream.end_header()
        stream.zeros = 0
        if header.size < 0 or header.offset_data < 0:
            raise tarfile.ReadError("a negative size")
        return header

    def _proc_pax(self, tarfile_: tarfile.TarFile) -> Any:
        stream = cast("TarStream", tarfile_.fileobj)
        if not 0 <= self.size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        stream.check_extended(-(-self.size // _BLOCK) * _BLOCK)
        return super()._proc_pax(tarfile_)  # type: ignore[misc]

    def _proc_gnulong(self, tarfile_: tarfile.TarFile) -> Any:
        if not 0 <= self.size <= MAX_HEADER:
            raise tarfile.ReadError(f"a name of {self.size} bytes")
        return super()._proc_gnulong(tarfile_)  # type: ignore[misc]
