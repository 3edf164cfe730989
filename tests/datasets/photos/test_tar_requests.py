"""A tar in a bucket is read in large pieces: every read of a file there is a request."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from pipeline.datasets.photos import tar_members
from pipeline.datasets.photos.tar_members import members


class Counting(io.RawIOBase):
    """A file that counts how often it is read."""

    def __init__(self, file: IO[bytes], reads: list[int]) -> None:
        self.file, self.reads = file, reads

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.reads.append(size)
        return self.file.read(size)


class Handler(fs.FSSpecHandler):
    def __init__(self, reads: list[int]) -> None:
        super().__init__(LocalFileSystem())
        self.reads = reads

    def open_input_stream(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(Counting(open(path, "rb"), self.reads), mode="r")


def test_headers_are_no_requests_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as tar:
        for number in range(200):
            info = tarfile.TarInfo(f"{number:04}.jpg")
            info.size = 50_000
            tar.addfile(info, io.BytesIO(bytes(50_000)))
    reads: list[int] = []
    monkeypatch.setattr(tar_members, "locate", lambda place: (fs.PyFileSystem(Handler(reads)), place))
    names = []
    for tar, member in members(str(path)):
        names.append(member.name)
        file = tar.extractfile(member)
        assert file is not None
        assert len(file.read()) == 50_000
    assert len(names) == 200
    assert len(reads) <= 10 + path.stat().st_size / 2**20
