"""The raw cache: made once, extended by what is new, never wrong, and left alone where it cannot be made."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from pipeline.building.building_sets import build_indexes
from pipeline.building.spec import BuildSpec
from pipeline.errors import QpertError
from pipeline.features.compacting import compact
from pipeline.features.verifying import verify
from pipeline.io.locations import Folder
from pipeline.vectors import caching, opening
from pipeline.vectors.index_manifest import IndexManifest
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.parquet_rows import ParquetRows
from pipeline.vectors.stored_vectors import StoredVectors
from pipeline.vectors.versions import current_version
from tests.vectors.stored_sets import answers, brute_force, grid, random_queries, remove, write_set

RNG = np.random.default_rng(0)
QUERY = random_queries(RNG, 1, 8)


@pytest.fixture
def root(tmp_path):
    write_set(tmp_path / "set", [grid(RNG, 2, 8) for _ in range(30)], 2, files=3)
    return tmp_path / "set"


def kinds(snapshot):
    return [type(part.vectors) for part in snapshot.parts]


def shards_of(root):
    return sorted(path.name for path in (root / "search" / "all" / "shards").iterdir())


def assert_right(root, snapshot):
    assert answers(snapshot, QUERY, 12) == [brute_force(root, QUERY[0], 12)]


def test_it_is_made_once(root, monkeypatch):
    assert kinds(open_snapshot(str(root))) == [StoredVectors]
    before = {path: path.stat().st_mtime_ns for path in (root / "search").rglob("*") if path.name != ".lock"}
    monkeypatch.setattr(caching, "write_shard", None)
    snapshot = open_snapshot(str(root))
    assert {path: path.stat().st_mtime_ns for path in (root / "search").rglob("*") if path.name != ".lock"} == before
    assert_right(root, snapshot)


def test_not_made_where_it_is_not_wanted(root):
    assert kinds(open_snapshot(str(root), cache=False)) == [ParquetRows]
    assert not (root / "search").exists()


def test_only_what_is_new_is_added_and_small_shards_are_joined(root):
    open_snapshot(str(root))
    (first,) = shards_of(root)
    write_set(root, [grid(RNG, 2, 8) for _ in range(3)], 2, first=500)
    snapshot = open_snapshot(str(root))
    assert first in shards_of(root)
    assert len(shards_of(root)) == 2
    assert_right(root, snapshot)
    write_set(root, [grid(RNG, 2, 8) for _ in range(60)], 2, first=600, files=6)
    snapshot = open_snapshot(str(root))
    assert len(shards_of(root)) == 1
    assert len(snapshot.photos) == 93
    assert_right(root, snapshot)


def test_removed_and_restored_rows(root):
    ids = open_snapshot(str(root)).photos.column("image_id").to_pylist()
    best = brute_force(root, QUERY[0], 3)[0][0]
    remove(root, [best, ids[7]])
    snapshot = open_snapshot(str(root))
    assert best not in dict(answers(snapshot, QUERY, 30)[0])
    assert snapshot.live.sum() == 30 - len({best, ids[7]})
    assert snapshot.photos.number_of(best) is None
    assert_right(root, snapshot)
    shutil.rmtree(root / "removed")
    snapshot = open_snapshot(str(root))
    assert snapshot.live.all()
    assert_right(root, snapshot)


@pytest.mark.parametrize("link", ["search", "search/all", "search/all/shards"])
def test_nothing_is_written_or_deleted_through_links_of_a_set(root, tmp_path, link):
    """The set may be somebody else's, and the links lead to folders of the user."""
    precious = tmp_path / "home" / "precious" / "file"
    precious.parent.mkdir(parents=True)
    precious.write_text("kept")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root / link).symlink_to(tmp_path / "home", target_is_directory=True)
    snapshot = open_snapshot(str(root))
    assert "symbolic link" in snapshot.notes[0]
    assert_right(root, snapshot)
    with pytest.raises(QpertError, match="symbolic link"):
        list(build_indexes(BuildSpec(features=[str(root)])))
    assert [path.name for path in (tmp_path / "home").rglob("*")] == ["precious", "file"]


@pytest.mark.parametrize("cache", [False, True])
def test_a_set_whose_photos_are_all_removed_can_be_searched(root, cache):
    ids = open_snapshot(str(root), cache=cache).photos.column("image_id").to_pylist()
    remove(root, ids)
    snapshot = open_snapshot(str(root), cache=cache)
    assert answers(snapshot, QUERY, 3) == [[]]
    assert snapshot.photos.number_of(ids[0]) is None


def test_an_index_that_cannot_be_looked_at_is_done_without(root):
    """As one that another user has made in a shared set, not open to others. A link to itself fails for root too."""
    (root / "search").symlink_to("search")
    snapshot = open_snapshot(str(root), cache=False)
    assert "cannot be read" in snapshot.notes[0]
    assert_right(root, snapshot)
    assert current_version(str(root)) == snapshot.version


def test_compaction_leaves_a_cache_that_is_made_anew(root):
    old = open_snapshot(str(root))
    old_key = shards_of(root)
    remove(root, old.photos.column("image_id").to_pylist()[:4])
    expected = answers(open_snapshot(str(root)), QUERY, 12)
    compact(Folder.open(str(root)))
    assert not verify(Folder.open(str(root))).problems
    assert kinds(open_snapshot(str(root), cache=False)) == [ParquetRows]
    snapshot = open_snapshot(str(root))
    assert kinds(snapshot) == [StoredVectors]
    assert answers(snapshot, QUERY, 12) == expected
    assert shards_of(root) != old_key
    assert len(shards_of(root)) == 1  # the old one has been deleted
    assert old.search(QUERY, 3)[0].scores.size == 3  # and whoever has it open goes on


def test_another_fingerprint_is_said_and_the_cache_made_anew(root):
    open_snapshot(str(root))
    shutil.rmtree(root / "features")
    write_set(root, [grid(RNG, 2, 8) for _ in range(5)], 2, fingerprint="1" * 16)
    snapshot = open_snapshot(str(root), cache=False)
    assert "other features" in snapshot.notes[0]
    assert_right(root, snapshot)
    snapshot = open_snapshot(str(root))
    assert not snapshot.notes
    assert kinds(snapshot) == [StoredVectors]
    assert_right(root, snapshot)


@pytest.mark.parametrize("how", ["gone", "short"])
def test_what_is_lost_of_it_is_made_anew(root, how):
    open_snapshot(str(root))
    (path,) = root.rglob("vectors.npy")
    path.unlink() if how == "gone" else os.truncate(path, 300)
    assert kinds(open_snapshot(str(root), cache=False)) == [ParquetRows]
    snapshot = open_snapshot(str(root))
    assert kinds(snapshot) == [StoredVectors]
    assert not snapshot.notes
    assert_right(root, snapshot)


def test_a_process_that_is_at_it_is_not_waited_for(root):
    with Folder.open(str(root)).subfolder("search").exclusive():
        snapshot = open_snapshot(str(root))
    assert kinds(snapshot) == [ParquetRows]
    assert not snapshot.notes
    assert_right(root, snapshot)


@pytest.mark.parametrize("problem", ["read-only", "full", "failing", "folder"])
def test_a_disk_that_does_not_take_it(root, monkeypatch, problem):
    def fails(*args):
        raise OSError(28, "No space left on device")

    if problem == "read-only":
        monkeypatch.setattr(caching.os, "access", lambda path, mode: False)
    elif problem == "full":
        usage = shutil.disk_usage(root)._replace(free=1 << 20)
        monkeypatch.setattr(caching.shutil, "disk_usage", lambda path: usage)
    elif problem == "failing":
        monkeypatch.setattr(caching, "write_shard", fails)
    else:
        (root / "search").write_text("a file")
    snapshot = open_snapshot(str(root))
    assert kinds(snapshot) == [ParquetRows]
    assert len(snapshot.notes) >= 1
    assert_right(root, snapshot)
    if problem == "failing":
        assert shards_of(root) == []


def test_a_killed_writer_leaves_nothing_that_counts(root, monkeypatch):
    real = caching.write_shard

    def killed(features, files, folder, settings):
        real(features, files, folder, settings)
        os.rename(folder, f"{folder}-left")  # so that cleaning up does not find it
        raise KeyboardInterrupt

    monkeypatch.setattr(caching, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        open_snapshot(str(root))
    assert len(shards_of(root)) == 1
    assert kinds(open_snapshot(str(root), cache=False)) == [ParquetRows]
    monkeypatch.setattr(caching, "write_shard", real)
    assert kinds(open_snapshot(str(root))) == [StoredVectors]
    assert len(shards_of(root)) == 1


def test_the_version_changes_with_the_set_its_marks_and_its_index(root):
    versions = [current_version(str(root))]
    snapshot = open_snapshot(str(root))
    assert snapshot.version == current_version(str(root))
    versions.append(snapshot.version)
    remove(root, [snapshot.photos.ids(np.array([3]))[0]])
    versions.append(current_version(str(root)))
    write_set(root, [grid(RNG, 2, 8)], 2, first=900)
    versions.append(current_version(str(root)))
    assert len(set(versions)) == 4
    assert current_version(Folder.open(str(root))) == versions[-1]


def test_shards_that_are_replaced_while_they_are_opened_are_looked_for_again(root, monkeypatch):
    open_snapshot(str(root))
    manifest = IndexManifest.find(Folder.open(str(root)))
    (key,) = shards_of(root)
    folder = root / "search" / "all" / "shards"
    real, calls = opening.open_shard, []

    def replaced(features, name, note, path):
        if not calls:  # between reading the manifest and opening
            calls.append(1)
            os.rename(folder / key, folder / "newer")
            entry = manifest.indexes["all"]
            changed = entry.model_copy(update={"shards": {"newer": entry.shards[key]}})
            manifest.replacing("all", changed).write(Folder.open(str(root)))
        return real(features, name, note, path)

    monkeypatch.setattr(opening, "open_shard", replaced)
    snapshot = open_snapshot(str(root), cache=False)
    assert kinds(snapshot) == [StoredVectors]
    assert not snapshot.notes
    assert_right(root, snapshot)
