"""Shards in a bucket are copied to this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from pipeline.io.locations import Folder
from pipeline.vectors import remote_shards
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.parquet_rows import ParquetRows
from pipeline.vectors.stored_vectors import StoredVectors
from tests.vectors.stored_sets import answers, brute_force, grid, random_queries, write_set

RNG = np.random.default_rng(0)
QUERY = random_queries(RNG, 1, 8)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    write_set(tmp_path / "set", [grid(RNG, 2, 8) for _ in range(30)], 2, files=3)
    open_snapshot(str(tmp_path / "set"))
    return tmp_path / "set"


def in_bucket(root):
    """The folder as one of a file system that is not the local one."""
    return Folder(Path(root).as_uri(), fs.SubTreeFileSystem("/", fs.LocalFileSystem()), str(root).lstrip("/"))


def kinds(snapshot):
    return [type(part.vectors) for part in snapshot.parts]


def assert_right(root, snapshot):
    assert answers(snapshot, QUERY, 12) == [brute_force(root, QUERY[0], 12)]


def test_a_set_in_a_bucket_is_searched_from_copies_of_its_shards(root, tmp_path):
    snapshot = open_snapshot(in_bucket(root))
    assert kinds(snapshot) == [StoredVectors]
    assert list((tmp_path / "home" / "qpert" / "search").rglob("vectors.npy"))
    assert_right(root, snapshot)
    shutil.rmtree(root / "search" / "all")  # copied once
    assert kinds(open_snapshot(in_bucket(root))) == [StoredVectors]


@pytest.mark.parametrize("problem", ["full", "short", "long"])
def test_what_cannot_be_copied_is_said_and_read_from_the_features(root, monkeypatch, problem):
    if problem == "full":
        usage = shutil.disk_usage(root)._replace(free=0)
        monkeypatch.setattr(remote_shards.shutil, "disk_usage", lambda path: usage)
    else:
        (path,) = root.rglob("vectors.npy")
        data = path.read_bytes()
        path.write_bytes(data[:-3] if problem == "short" else data + b"x" * (1 << 20))
    snapshot = open_snapshot(in_bucket(root))
    assert kinds(snapshot) == [ParquetRows]
    assert snapshot.notes
    assert_right(root, snapshot)
