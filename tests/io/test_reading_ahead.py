"""Reading ahead gives the same bytes by fewer and larger reads, and its errors come out."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pipeline.io.reading_ahead import ReadAhead


class Counted(io.BytesIO):
    """Counts its reads."""

    reads = 0

    def read(self, *words: Any) -> bytes:
        self.reads += 1
        return super().read(*words)


def test_small_reads_become_few_large_ones() -> None:
    data = bytes(range(256)) * 100
    raw = Counted(data)
    with ReadAhead(raw, piece=5000) as stream:
        found = b"".join(iter(lambda: stream.read(77), b""))
        assert stream.read(10) == b""
    assert found == data
    assert raw.reads <= len(data) // 5000 + 3


def test_what_is_left_unread_is_not_read_to_the_end() -> None:
    raw = Counted(bytes(100_000))
    with ReadAhead(raw, piece=1000) as stream:
        assert len(stream.read(10)) == 10
    assert raw.reads <= 3


def test_an_error_is_raised_where_it_is_read() -> None:
    class Breaks(Counted):
        def read(self, *words: Any) -> bytes:
            if self.reads == 2:
                raise OSError("gone")
            return super().read(*words)

    with ReadAhead(Breaks(bytes(3000)), piece=1000) as stream:
        assert len(stream.read(1000)) == 1000
        assert len(stream.read(1000)) == 1000
        with pytest.raises(OSError, match="gone"):
            stream.read(1)
