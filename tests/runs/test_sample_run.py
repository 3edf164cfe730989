"""Samples of a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.source import find_photos
from pipeline.runs.sample_run import spread


def test_the_sample_is_spread_over_the_source(tmp_path: Path, make_photos: Callable[[Path, int], list[str]]) -> None:
    names = make_photos(tmp_path / "photos", 50)
    photos, count = spread(find_photos(str(tmp_path / "photos")), 50, 10)
    assert count == 10
    assert isinstance(photos, Listing)
    assert [photo.image_id for photo in photos.saved_items()] == names[4::5]
    shards = Shards("webdataset", "tars", ())
    assert spread(shards, None, 10) == (shards, 10)
    assert spread(shards, 7, 10) == (shards, 7)
