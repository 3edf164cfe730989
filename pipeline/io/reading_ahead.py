"""Reading a stream from front to back, with its next piece on the way while the last one is used."""

from __future__ import annotations

from itertools import count
from typing import IO, Any

import pyarrow as pa

from pipeline.io.map_ahead import map_ahead

PIECE = 8 * 2**20
"""Bytes of one request: enough that the time until its first byte hardly counts."""


class ReadAhead:
    """A stream of storage that is far away: small reads are answered from pieces, one of which is read ahead.

    Args:
        raw: the stream, which nobody else may use.
        piece: bytes of each request to it.
    """

    closed = False

    def __init__(self, raw: pa.NativeFile | IO[bytes], piece: int = PIECE) -> None:
        self._pieces = map_ahead(lambda _: raw.read(piece), count(), threads=1)
        self._piece, self._at = memoryview(b""), 0

    def read(self, size: int) -> bytes:
        """The next bytes: `size` of them, fewer at the end of a piece, none at the end of the stream."""
        if self._at == len(self._piece):
            self._piece, self._at = memoryview(next(self._pieces, b"")), 0
            if not len(self._piece):
                self.close()
        data = bytes(self._piece[self._at : self._at + size])
        self._at += len(data)
        return data

    def close(self) -> None:
        """Stop reading ahead."""
        self._pieces.close()

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
