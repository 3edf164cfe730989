"""How often an operation that keeps failing is tried: storage is retried in one place only."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tenacity
from pyarrow import fs
from ray._common.retry import call_with_retry
from ray.data import DataContext
from ray.data._internal.util import RetryingPyFileSystem, iterate_with_retry

from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.io import locations as storage
from pipeline.io.locations import Folder, write_atomically
from pipeline.io.retrying import TRIES
from pipeline.io.retrying_files import retrying
from pipeline.runs.graph import resumable

TABLE = pa.table({"number": [1, 2, 3]})


class Broken(fs.FileSystemHandler):  # type: ignore[misc]
    """A local file system on which some operations always fail; `tries` counts all operations."""

    def __init__(self, *broken: str) -> None:
        self.local, self.broken, self.tries = fs.LocalFileSystem(), broken, Counter[str]()

    def _do(self, what: str, *words: Any, **options: Any) -> Any:
        self.tries[what] += 1
        if what in self.broken:
            raise OSError("flaky: no answer")
        return getattr(self.local, what)(*words, **options)

    def get_type_name(self) -> str:
        return "broken"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        return self._do("get_file_info", paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        return self._do("get_file_info", selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._do("create_dir", path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._do("delete_dir", path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self._do("delete_dir_contents", path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        raise AssertionError

    def delete_file(self, path: str) -> None:
        self._do("delete_file", path)

    def move(self, src: str, dest: str) -> None:
        self._do("move", src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        self._do("copy_file", src, dest)

    def open_input_stream(self, path: str) -> Any:
        return self._reading(self._do("open_input_stream", path))

    def open_input_file(self, path: str) -> Any:
        return self._reading(self._do("open_input_file", path))

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        stream = self._do("open_output_stream", path)
        return pa.PythonFile(_File(stream, self), mode="w") if "write" in self.broken else stream

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return self._do("open_append_stream", path)

    def _reading(self, stream: Any) -> Any:
        return pa.PythonFile(_File(stream, self), mode="r") if "read" in self.broken else stream


class _File:
    """An open file that cannot be read or written."""

    closed = False

    def __init__(self, inner: Any, handler: Broken) -> None:
        self.inner, self.handler = inner, handler

    def read(self, *_: Any) -> bytes:
        self.handler.tries["read"] += 1
        raise OSError("flaky: no answer")

    def write(self, *_: Any) -> int:
        self.handler.tries["write"] += 1
        raise OSError("flaky: no answer")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Broken]:
    """Opens every URI on a broken file system, whose files are in the folder of the test."""
    for name in ("photo.jpg", "manifest.json", "features/a-0.parquet", "tokens/a.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    def make(*broken: str) -> Broken:
        handler = Broken(*broken)
        inner = fs.PyFileSystem(handler)

        class Store:
            @staticmethod
            def from_uri(uri: str) -> tuple[fs.FileSystem, str]:
                return inner, str(tmp_path) + uri.removeprefix("fsspec+broken://")

        monkeypatch.setattr(storage.fs, "FileSystem", Store)
        return handler

    return make


AT = "fsspec+broken:///"
RULES = SourceRules(schemes=("fsspec+broken",))
READS = ["get_file_info", "open_input_stream", "open_input_file", "read"]
CALLS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "photo": (lambda: read_photo(f"{AT}photo.jpg", RULES), ["open_input_file", "read"]),
    "manifest": (lambda: FeatureStore(AT).find_manifest(), ["open_input_stream", "read"]),
    "listing": (lambda: Folder.open(f"{AT}features").files(), ["get_file_info"]),
    "committed": (lambda: FeatureStore(AT).files("f00").names, ["get_file_info"]),
    "tokens": (lambda: FeatureStore(AT).tokens.read("a.safetensors"), ["open_input_stream", "read"]),
    "written": (
        lambda: write_atomically(f"{AT}b.json", b"data"),
        ["create_dir", "open_output_stream", "write", "move"],
    ),
}


@pytest.mark.parametrize(
    ("name", "operation"), [(name, operation) for name, (_, operations) in CALLS.items() for operation in operations]
)
def test_an_operation_that_keeps_failing_is_tried_a_few_times(
    bucket: Callable[..., Broken], name: str, operation: str
) -> None:
    handler = bucket(operation)
    with pytest.raises((OSError, QpertError), match="no answer"):
        CALLS[name][0]()
    assert handler.tries[operation] == TRIES <= 10


def test_local_reads_are_retried_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local path may be mounted from another machine."""
    (tmp_path / "photo.jpg").write_bytes(b"x")
    tries, opened = 0, os.open

    def broken(path: Any, *words: Any, **options: Any) -> int:
        nonlocal tries
        if str(path) != str(tmp_path / "photo.jpg"):
            return opened(path, *words, **options)
        tries += 1
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(QpertError, match=r"cannot read the file: OSError: .*Input/output error"):
        read_photo(str(tmp_path / "photo.jpg"))
    assert 1 < tries <= 10


@pytest.mark.parametrize("local", [False, True])
def test_ray_data_does_not_retry_what_its_file_system_has_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    """As Ray reads and writes: through its wrapper around our file system, with its own retries of a file."""
    handler = Broken()
    inner = fs.PyFileSystem(handler)
    monkeypatch.setattr(storage, "locate", lambda path: (inner if local else retrying(inner), str(tmp_path)))
    with resumable(FeatureStore("out"), "f00"):
        context = DataContext.get_current()
        config = context.checkpoint_config
        assert config is not None
        given = config.filesystem
        match = context.retried_io_errors
    handler.broken = ("get_file_info", "open_input_file", "write")
    handler.tries.clear()  # not those of listing what exists
    files = RetryingPyFileSystem.wrap(given, retryable_errors=match)
    handler.broken = ("get_file_info", "open_input_file", "write")
    handler.tries.clear()
    (tmp_path / "file").write_bytes(b"x")

    def info() -> object:
        return files.get_file_info(["file"])

    def write() -> None:
        pq.write_table(TABLE, "a.parquet", filesystem=files)

    def read() -> Any:
        yield pq.ParquetFile("file", filesystem=files)

    for call in (
        lambda: call_with_retry(info, "look", match=match),
        lambda: call_with_retry(write, "write", match=match),
        lambda: list(iterate_with_retry(read, "read", match=match)),
    ):
        with pytest.raises(OSError, match="no answer"):
            call()
    assert handler.tries["get_file_info"] == handler.tries["write"] == handler.tries["open_input_file"] == TRIES


def test_a_retrying_file_system_is_not_wrapped_twice() -> None:
    files = retrying(fs.LocalFileSystem())
    assert retrying(files) is files
