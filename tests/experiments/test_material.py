from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.datasets.photos.source import find_photos
from pipeline.datasets.scenes import write_scenes
from pipeline.errors import QpertError
from pipeline.experiments.material import draw_scenes, find_material


def test_scenes_are_drawn_once(tmp_path: Path) -> None:
    material = draw_scenes(tmp_path, 12)
    first = (tmp_path / "scenes-12" / "images" / "000000.jpg").stat().st_mtime_ns
    assert len(material.captions) == 12
    again = draw_scenes(tmp_path, 12)
    assert again == material
    crowded = draw_scenes(tmp_path, 12, profile="crowded")
    assert crowded.photos != material.photos
    assert [image.captions for image in crowded.captions] != [image.captions for image in material.captions]
    assert (tmp_path / "scenes-12" / "images" / "000000.jpg").stat().st_mtime_ns == first


def test_a_users_own_photos_and_a_missing_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_scenes(root, 10, seed=3)
    (root / "images" / "000003.jpg").unlink()
    arguments = str(root / "images"), str(root / "dataset_scenes.json")
    material = find_material(tmp_path / "out", *arguments, str(root), "test")
    assert material.remark.startswith("1 of 10 captioned images are missing: 000003.jpg")
    photos = find_photos(material.photos)
    ids = [name for batch in photos.batches() for name in batch.column("image_id").to_pylist()]
    assert [name.rpartition("/")[2] for name in ids] == [f"{n:06}.jpg" for n in range(10) if n != 3]
    with pytest.raises(QpertError, match="has none of the 10 captioned images"):
        find_material(tmp_path / "out", str(_folder(tmp_path)), arguments[1], str(root), "test")


def _folder(tmp_path: Path) -> Path:
    """A folder with other photos."""
    write_scenes(tmp_path / "other", 10, seed=4)
    for number in range(10):
        path = tmp_path / "other" / "images" / f"{number:06}.jpg"
        path.rename(path.with_name(f"x{path.name}"))
    return tmp_path / "other" / "images"
