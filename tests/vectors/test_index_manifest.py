"""The manifest of an index: read and written, and never believed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.io.locations import Folder
from pipeline.vectors.index_manifest import IndexManifest, index_name
from pipeline.vectors.opening import open_snapshot
from tests.vectors.indexing import build_index
from tests.vectors.stored_sets import answers, brute_force, grid, random_queries, write_set

RNG = np.random.default_rng(0)
QUERY = random_queries(RNG, 1, 8)


@pytest.fixture
def root(tmp_path):
    write_set(tmp_path / "set", [grid(RNG, 2, 8) for _ in range(60)], 2, files=3)
    build_index(tmp_path / "set", "ivf-sq8", per_shard=1 << 30, lists=8, probes=4)
    return tmp_path / "set"


def edit(root, change):
    """Change the manifest as JSON."""
    path = root / "search" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def assert_said_and_right(root, match):
    snapshot = open_snapshot(str(root), cache=False)
    assert any(match in note for note in snapshot.notes), snapshot.notes
    assert answers(snapshot, QUERY, 12) == [brute_force(root, QUERY[0], 12)]
    return snapshot


def test_a_manifest_that_is_damaged_or_names_other_places(root):
    path = root / "search" / "manifest.json"
    good = path.read_text()

    def moved(manifest):
        entry = manifest["indexes"]["all"]
        entry["shards"] = {"../../..": next(iter(entry["shards"].values()))}

    def outside(manifest):
        (note,) = manifest["indexes"]["all"]["shards"].values()
        note["sizes"]["../../../../etc/passwd"] = 1

    def elsewhere(manifest):
        manifest["indexes"]["all"]["quantiser"] = "/etc/passwd"

    def many(manifest):
        (note,) = manifest["indexes"]["all"]["shards"].values()
        note["vectors"] = 2**39

    def few(manifest):
        (note,) = manifest["indexes"]["all"]["shards"].values()
        next(iter(note["files"].values()))["photos"] = 7

    def newer(manifest):
        manifest["format"] = 99

    for change in (moved, outside, elsewhere, many, few, newer):
        path.write_text(good)
        edit(root, change)
        assert_said_and_right(root, "damaged" if change is not newer else "upgrade")
    for text in ("", "[]", "{", '{"format": 1}', "\0" * 50):
        path.write_text(text)
        assert_said_and_right(root, "damaged")
    with path.open("wb") as file:
        file.truncate((1 << 28) + 1)
    assert_said_and_right(root, "damaged")


def test_the_manifest_survives_its_own_text(root):
    folder = Folder.open(str(root))
    manifest = IndexManifest.find(folder)
    manifest.write(folder)
    assert IndexManifest.find(folder) == manifest


def test_names_of_variants_are_plain_and_differ():
    names = [index_name(variant) for variant in (None, "a b", "a/b", "..", "", "x" * 500)]
    assert names[0] == "all"
    assert len({*names}) == len(names)
    assert all(name.replace("-", "").isalnum() and len(name) < 100 for name in names)
