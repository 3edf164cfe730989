"""A local file system that fails at random, for fsspec and so for pyarrow: ``fsspec+flaky:///absolute/path``.

Processes that shall know the scheme call `register`; Ray's do by the runtime environment's `worker_process_setup_hook`.
"""

from __future__ import annotations

import os
import random
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class FlakyFileSystem(LocalFileSystem):
    """Each operation, and each read and write of a file, fails with the probability `rate` (or FLAKY_RATE).

    FLAKY_FIRST=1 makes the first write of each process fail in any case.
    """

    protocol = "flaky"

    def __init__(self, rate: float | None = None, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.rate = float(os.environ.get("FLAKY_RATE", "0.1")) if rate is None else rate
        self.dice = random.Random(seed)
        self.first = os.environ.get("FLAKY_FIRST") == "1"

    def fail(self, what: str) -> None:
        """Fail, or not."""
        if self.dice.random() < self.rate:
            raise OSError(f"flaky: {what} failed")

    def info(self, path: str, **options: Any) -> Any:
        self.fail("info")
        return super().info(path, **options)

    def isdir(self, path: str) -> bool:
        """Does not fail, nor does listing: fsspec itself takes such a failure for a no, or for nothing there."""
        return os.path.isdir(self._strip_protocol(path))

    def exists(self, path: str, **options: Any) -> bool:
        """Likewise."""
        return os.path.exists(self._strip_protocol(path))

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        """Likewise."""
        return LocalFileSystem().ls(path, detail=detail, **options)

    def mkdir(self, path: str, create_parents: bool = True, **options: Any) -> Any:
        self.fail("mkdir")
        return super().mkdir(path, create_parents=create_parents, **options)

    def makedirs(self, path: str, exist_ok: bool = False) -> Any:
        self.fail("makedirs")
        return super().makedirs(path, exist_ok=exist_ok)

    def mv(self, path1: str, path2: str, **options: Any) -> Any:
        self.fail("mv")
        return super().mv(path1, path2, **options)

    def cp_file(self, path1: str, path2: str, **options: Any) -> Any:
        self.fail("cp")
        return super().cp_file(path1, path2, **options)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> Any:
        self.fail("rm")
        return super().rm(path, recursive=recursive, maxdepth=maxdepth)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.fail("open")
        return _Flaky(super().open(path, mode, **options), self)


class _Flaky:
    """An open file whose reads and writes fail."""

    def __init__(self, file: Any, files: FlakyFileSystem) -> None:
        self.file, self.files = file, files

    def read(self, *arguments: Any) -> Any:
        self.files.fail("read")
        return self.file.read(*arguments)

    def write(self, data: Any) -> Any:
        if self.files.first:
            self.files.first = False
            raise OSError("flaky: the first write failed")
        self.files.fail("write")
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def register() -> None:
    """Make ``flaky`` known to fsspec in this process."""
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
