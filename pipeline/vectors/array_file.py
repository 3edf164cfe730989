"""The rows of an ``.npy`` file, read where they are wanted.

Read by position rather than mapped: a file that is cut short or a disk that fails is an error, not the end of the
process, what has been read does not stay in its memory, and threads do not disturb each other.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError

_HEADER = 128
"""Bytes before the numbers, whatever the shape: it is known only when all are written."""


class ArrayFile:
    """An array [m, ...] on a local disk.

    Args:
        path: of the file.
        dtype: expected type of its numbers.
        shape: expected shape.

    Raises:
        QpertError: the file is missing, or does not hold an array of this type and shape.
    """

    def __init__(self, path: str, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.shape = path, np.dtype(dtype), shape
        self._row = self.dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        # Compared, not parsed: NumPy's parser takes a damaged header for a Python expression.
        header = _header(self.dtype, shape)
        self._offset = len(header)
        try:
            with open(path, "rb") as file:
                fits = file.read(len(header)) == header
                fits &= os.fstat(file.fileno()).st_size == len(header) + shape[0] * self._row
                descriptor = os.dup(file.fileno())
        except OSError as error:
            raise QpertError(f"{path} cannot be read ({error})") from error
        weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        if not fits:
            raise QpertError(f"{path} is damaged: it does not hold {self.dtype} {list(shape)}")

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, out: npt.NDArray[Any]) -> None:
        """Fill `out`, a contiguous array, with the rows from `start` on.

        Raises:
            QpertError: the file has become shorter, or the disk fails.
        """
        self.gather([start], [len(out)], out)

    def gather(self, starts: Sequence[int], counts: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Fill `out`, a contiguous array, with rows from several places.

        Args:
            starts: the first row of each place.
            counts: how many rows are read there; they add up to the length of `out`.
            out: [m, ...].

        Raises:
            QpertError: the file has become shorter, or the disk fails.
        """
        target, done = memoryview(out.reshape(-1).view(np.uint8).data), 0
        descriptor, row, offset = self._descriptor, self._row, self._offset
        try:
            for start, count in zip(starts, counts, strict=True):
                place, end = offset + start * row, done + count * row
                while done < end:  # once, but for signals and very large reads
                    more = os.preadv(descriptor, [target[done:end]], place)
                    if not more:
                        raise QpertError(f"{self.path} is damaged: it ends early; delete it, it is made anew")
                    done += more
                    place += more
        except OSError as error:
            raise QpertError(f"{self.path} cannot be read ({error})") from error

    def rows(self, start: int, count: int) -> npt.NDArray[Any]:
        """The `count` rows from `start` on."""
        out = np.empty((count, *self.shape[1:]), self.dtype)
        if count:
            self.read(start, out)
        return out

    def want(self, start: int, count: int) -> None:
        """Tell the operating system that these rows will be read soon."""
        if count > 0 and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(
                self._descriptor, self._offset + start * self._row, count * self._row, os.POSIX_FADV_WILLNEED
            )


@contextmanager
def writing_array(path: str, dtype: npt.DTypeLike, row: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """Open a file to write the numbers of an array [m, *row] to, in C order; the header is written at the end."""
    kind = np.dtype(dtype)
    with open(path, "wb") as file:
        file.write(b"\0" * _HEADER)
        yield file
        size = file.tell() - _HEADER
        count, rest = divmod(size, kind.itemsize * int(np.prod(row, dtype=np.int64)))
        if rest:
            raise ValueError("not a whole number of rows")
        file.seek(0)
        file.write(_header(kind, (count, *row)))
        file.flush()
        os.fsync(file.fileno())


def _header(kind: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}).encode()
    magic = np.lib.format.magic(1, 0)
    length = _HEADER - len(magic) - 2
    return magic + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"
