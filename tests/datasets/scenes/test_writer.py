from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pipeline.datasets.boxes.flickr_entities import read_entities
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.scenes import Profile, make_captions, write_scenes
from pipeline.datasets.scenes.writer import distinct_scenes
from pipeline.errors import QpertError


@pytest.mark.parametrize("profile", ["balanced", "crowded"])
def test_scenes_are_read_back_by_the_readers_of_the_real_data_sets(tmp_path: Path, profile: Profile) -> None:
    target = write_scenes(tmp_path / "s", 12, 4, profile)
    scenes = list(distinct_scenes(12, 4, profile))
    captions = read_captions(str(target), split="test")
    entities = read_entities(str(tmp_path / "s"))
    assert [image.image_id for image in captions] == [f"{i:06d}.jpg" for i in range(12)]
    for number, scene in enumerate(scenes):
        assert list(captions[number].captions) == [c.text for c in make_captions(scene)]
        boxes = [tuple(box) for _, box in entities[f"{number:06d}"].boxes]
        assert boxes == [tuple(map(float, thing.box)) for thing in scene.objects]
        with Image.open(tmp_path / "s" / "images" / f"{number:06d}.jpg") as image:
            assert image.size == (192, 192)


def test_no_two_scenes_of_a_set_have_the_same_content() -> None:
    contents = [scene.content for scene in distinct_scenes(600, 1)]
    assert len(set(contents)) == 600


def test_crowded_scenes_are_written_in_whole_groups() -> None:
    scenes = list(distinct_scenes(600, 1, "crowded"))
    assert [scene.index for scene in scenes] == list(range(600))


def test_written_scenes_are_not_drawn_again(tmp_path: Path) -> None:
    drawn: list[int] = []
    write_scenes(tmp_path, 3, 0, report=drawn.append)
    write_scenes(tmp_path, 3, 0, report=drawn.append)
    assert drawn == [1, 2, 3]


def test_an_interrupted_call_is_continued(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000000.jpg").write_bytes(b"half")
    data = json.loads(write_scenes(tmp_path, 2, 0).read_text())
    assert len(data["images"]) == 2
    with Image.open(tmp_path / "images" / "000000.jpg") as image:
        image.load()


def test_other_scenes_and_other_files_are_not_overwritten(tmp_path: Path) -> None:
    write_scenes(tmp_path / "a", 2, 0)
    with pytest.raises(QpertError, match="other scenes"):
        write_scenes(tmp_path / "a", 2, 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("dear")
    with pytest.raises(QpertError, match=r"letter\.txt"):
        write_scenes(tmp_path / "b", 2, 0)


def test_wrong_counts_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="at least 1"):
        write_scenes(tmp_path, 0, 0)
    with pytest.raises(QpertError, match="4,000 crowded scenes"):
        write_scenes(tmp_path, 4001, 0, "crowded")
    assert not list(tmp_path.iterdir())
