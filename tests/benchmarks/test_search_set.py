"""Simulated feature sets on disk: complete, kept, and only where there is room."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.benchmarks import search_set
from pipeline.benchmarks.search_data import SearchSizes, SimulatedPhotos
from pipeline.benchmarks.search_set import TEXTS, check_room, write_set
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet

SIZES = SearchSizes(photos=450, vectors=3, dim=16)


def test_the_set_holds_the_simulated_vectors_in_files_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(search_set, "_FILE_BYTES", 170 * 3 * 16 * 2)
    write_set(SIZES, 12, tmp_path / "set")
    features = FeatureSet.open(str(tmp_path / "set"))
    assert (len(features), features.vectors, features.dim) == (450, 3, 16)
    assert len(list((tmp_path / "set" / "features").iterdir())) == 3
    blocks = list(features.iter_blocks(["image_id", "embedding"]))
    stored = np.concatenate([features.embeddings(block) for block in blocks])
    assert (stored == np.concatenate(list(SimulatedPhotos(SIZES)))).all()
    ids = [name for block in blocks for name in block["image_id"].to_pylist()]
    assert ids == sorted(ids)
    assert len(set(ids)) == 450
    assert np.load(tmp_path / "set" / TEXTS).shape == (12, 16)


def test_a_set_of_the_same_sizes_is_kept_and_another_is_refused(tmp_path):
    write_set(SIZES, 12, tmp_path / "set")
    before = (tmp_path / "set" / TEXTS).stat().st_mtime_ns
    write_set(SIZES, 12, tmp_path / "set")
    assert (tmp_path / "set" / TEXTS).stat().st_mtime_ns == before
    with pytest.raises(QpertError, match="holds something else"):
        write_set(SIZES, 13, tmp_path / "set")


def test_a_part_of_a_set_is_refused(tmp_path):
    write_set(SIZES, 12, tmp_path / "set")
    (tmp_path / "set" / "sizes.json").unlink()
    with pytest.raises(QpertError, match="a part of a set"):
        write_set(SIZES, 12, tmp_path / "set")


def test_too_little_room_is_refused_with_the_bytes_needed(tmp_path):
    check_room(tmp_path, 1, spare=0)
    with pytest.raises(QpertError, match=r"needs 1,000,000\.0 GB .*--tmp"):
        check_room(tmp_path, 10**15)
