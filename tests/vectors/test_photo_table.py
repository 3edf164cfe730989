"""Columns and rows of photos, over several chunks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import QpertError
from pipeline.vectors.opening import open_snapshot
from pipeline.vectors.photo_table import PhotoTable, take
from tests.vectors.stored_sets import grid, remove, write_set


def test_values_are_taken_from_any_chunk_in_any_order():
    column = pa.chunked_array([["a", "b"], [], ["c"], ["d", None]], pa.string())
    assert take(column, np.array([4, 0, 2, 0, 3])) == [None, "a", "c", "a", "d"]
    assert take(column, np.array([], np.int64)) == []


@pytest.mark.parametrize("cache", [True, False])
def test_photos_have_numbers_names_and_columns(tmp_path, cache):
    rng = np.random.default_rng(0)
    photos = [None if number == 2 else grid(rng, 2, 4) for number in range(8)]
    write_set(tmp_path / "set", photos, 2, files=3)
    table = open_snapshot(str(tmp_path / "set"), cache=cache).photos
    assert len(table) == 7
    assert table.column("width").to_pylist() == [1, 2, 4, 5, 6, 7, 8]  # without the photo that failed
    ids = table.ids(np.arange(7))
    assert [table.number_of(name) for name in ids] == list(range(7))
    assert table.number_of("nothing.jpg") is None
    (row,) = table.rows([3], ["uri", "objects", "taken", "size", "vectors", "file"])
    assert row["uri"] == "/photos/4.jpg"
    assert row["objects"][0]["label"] == "star"
    assert (row["taken"], row["size"], row["vectors"]) == (None, None, 2)
    assert row["file"].endswith(".parquet")
    with pytest.raises(QpertError, match="no column colour"):
        table.column("colour")


def test_the_row_that_counts_is_found_by_its_id(tmp_path):
    rng = np.random.default_rng(1)
    write_set(tmp_path / "set", [grid(rng, 1, 4) for _ in range(4)], 1)
    snapshot = open_snapshot(str(tmp_path / "set"))
    (name,) = snapshot.photos.ids(np.array([1]))
    remove(tmp_path / "set", [name])
    write_set(tmp_path / "set", [grid(rng, 1, 4)], 1, first=1)  # the same photo, indexed again
    for cache in (False, True):
        photos: PhotoTable = open_snapshot(str(tmp_path / "set"), cache=cache).photos
        assert len(photos) == 5
        assert photos.number_of(name) == 4
