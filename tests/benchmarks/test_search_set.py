"""Simulated feature sets on disk: complete, kept, and only where there is room."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pipeline.benchmarks import search_set
from pipeline.benchmarks.search_data import SearchSizes, SimulatedPhotos
from pipeline.benchmarks.search_set import TEXTS, write_set
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.printing import size_text

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


@pytest.mark.parametrize(
    ("needed", "free", "fits"),
    [
        (2_000, 4_000, True),
        (2_000, 3_999, False),
        (20 * 10**9, 35 * 10**9, True),
        (20 * 10**9, 35 * 10**9 - 1, False),
        (0, 0, True),
    ],
)
def test_room_stays_on_the_disk_for_as_much_again_but_not_for_more_than_15_gb(
    tmp_path, monkeypatch, needed, free, fits
):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(search_set.shutil, "disk_usage", lambda path: usage)
    if fits:
        search_set.check_room(tmp_path, needed)
        return
    with pytest.raises(QpertError, match=rf"needs {size_text(needed)} .* only {size_text(free)} are.*--tmp"):
        search_set.check_room(tmp_path, needed)
