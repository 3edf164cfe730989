"""Retrying on a file system that fails at random."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tenacity
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from pipeline.io.retrying_files import retrying
from tests.flaky import FlakyFileSystem


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda seconds: None)


@pytest.fixture
def flaky() -> fs.FileSystem:
    return fs.PyFileSystem(fs.FSSpecHandler(FlakyFileSystem(rate=0.15, seed=1, skip_instance_cache=True)))


def test_without_retries_it_fails(flaky: fs.FileSystem, tmp_path: Path) -> None:
    def fifty() -> None:
        for number in range(50):
            flaky.create_dir(str(tmp_path / str(number)))

    with pytest.raises(OSError, match="flaky"):
        fifty()


def test_every_operation_succeeds_with_retries(flaky: fs.FileSystem, tmp_path: Path) -> None:
    files = retrying(flaky)
    table = pa.table({"number": list(range(50_000))})
    for number in range(8):
        folder = tmp_path / str(number)
        files.create_dir(str(folder))
        pq.write_table(table, folder / "a.parquet", row_group_size=1000)
        assert pq.read_table(str(folder / "a.parquet"), filesystem=files).equals(table)
        (folder / "bytes").write_bytes(bytes(random.Random(number).randbytes(200_000)))
        with files.open_input_stream(str(folder / "bytes")) as stream:
            read = b"".join(iter(lambda s=stream: s.read(7_000), b""))
        assert read == (folder / "bytes").read_bytes()
        with files.open_input_file(str(folder / "bytes")) as file:
            assert file.size() == 200_000
            file.seek(150_000)
            assert file.read(10) == read[150_000:150_010]
        files.move(str(folder / "bytes"), str(folder / "moved"))
        files.copy_file(str(folder / "moved"), str(folder / "copied"))
        files.delete_file(str(folder / "moved"))
        infos = files.get_file_info(fs.FileSelector(str(folder)))
        assert sorted(info.base_name for info in infos) == ["a.parquet", "copied"]
        files.delete_dir(str(folder))
    assert not list(tmp_path.iterdir())


def test_missing_files_are_reported_at_once(tmp_path: Path) -> None:
    files = retrying(fs.PyFileSystem(fs.FSSpecHandler(LocalFileSystem())))
    assert files.get_file_info(str(tmp_path / "no")).type == fs.FileType.NotFound
    for call in (files.open_input_file, files.delete_file, lambda path: files.move(path, path + "2")):
        with pytest.raises(FileNotFoundError):
            call(str(tmp_path / "no"))


@pytest.mark.parametrize("words", ["No such directory: a/b", "AWS Error NO_SUCH_KEY during CopyObject operation"])
def test_what_is_missing_is_reported_as_such_however_a_store_says_it(tmp_path: Path, words: str) -> None:
    tries = 0

    class Odd(FlakyFileSystem):
        def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
            nonlocal tries
            tries += 1
            raise OSError(words)

    (tmp_path / "a").mkdir()
    files = retrying(fs.PyFileSystem(fs.FSSpecHandler(Odd(rate=0.0, skip_instance_cache=True))))
    with pytest.raises(FileNotFoundError, match=words):
        files.delete_dir(str(tmp_path / "a"))
    assert tries == 1


def test_a_move_that_succeeded_but_reported_a_failure(tmp_path: Path) -> None:
    class Lies(FlakyFileSystem):
        def mv(self, path1: str, path2: str, **options: Any) -> None:
            super().mv(path1, path2, **options)
            raise OSError("flaky: the answer was lost")

    (tmp_path / "a").write_text("x")
    files = retrying(fs.PyFileSystem(fs.FSSpecHandler(Lies(rate=0.0, skip_instance_cache=True))))
    files.move(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "x"


def test_it_can_be_pickled(tmp_path: Path) -> None:
    files = retrying(fs.PyFileSystem(fs.FSSpecHandler(LocalFileSystem())))
    assert pickle.loads(pickle.dumps(files)) == files
