from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest

from pipeline.datasets.scenes.captions import make_captions, vocabulary
from pipeline.datasets.scenes.crowds import COUNTS, CROWD_COLOURS, LIMIT, SMALL_AREAS, SMALL_COLOURS, apart
from pipeline.datasets.scenes.drawing import draw_scene
from pipeline.datasets.scenes.layout import make_scene
from pipeline.datasets.scenes.scene import COLOURS, GROUP, SCENE_SIZE, SHAPES, Scene
from pipeline.errors import QpertError

THING = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")


@cache
def scenes(seed: int = 3) -> list[Scene]:
    return [make_scene(seed, index, "crowded") for index in range(400)]


def small(scene: Scene) -> frozenset[tuple[str, str]]:
    return frozenset((thing.colour, thing.shape) for thing in scene.objects[-3:])


def test_the_same_arguments_give_the_same_scene_whatever_was_made_before() -> None:
    first = make_scene(11, 77, "crowded")
    assert make_scene(11, 5, "crowded") != make_scene(12, 5, "crowded")
    assert make_scene(11, 77, "crowded") == first
    assert np.array_equal(np.asarray(draw_scene(first)), np.asarray(draw_scene(make_scene(11, 77, "crowded"))))


def test_scenes_show_many_objects_apart_from_each_other_and_the_named_are_the_smallest() -> None:
    counts = {len(scene.objects) for scene in scenes()}
    assert (min(counts), max(counts)) == COUNTS
    for scene in scenes():
        boxes = [thing.box for thing in scene.objects]
        for number, box in enumerate(boxes):
            assert 0 <= box[0] < box[2] <= SCENE_SIZE
            assert 0 <= box[1] < box[3] <= SCENE_SIZE
            assert all(apart(box, other) for other in boxes[:number])
        areas = [thing.area for thing in scene.objects]
        assert areas == sorted(areas, reverse=True)
        assert max(areas[-3:]) < 0.03
        assert min(areas) > 0.9 * SMALL_AREAS[0]
        assert areas[-4] > max(areas[-3:])


def test_a_crowd_has_none_of_the_colours_of_small_things() -> None:
    for scene in scenes():
        assert {thing.colour for thing in scene.objects[:-3]} <= set(CROWD_COLOURS)
        assert len({thing.colour for thing in scene.objects[-3:]} & set(SMALL_COLOURS)) == 3
        looks = [(thing.colour, thing.shape) for thing in scene.objects]
        assert len(set(looks)) == len(looks)


def test_scenes_of_a_group_differ_in_the_pixels_of_the_smallest_object_alone() -> None:
    for first in range(0, 80, GROUP):
        group = scenes()[first : first + GROUP]
        assert len({(scene.objects[:-1], scene.texture, scene.objects[-1].box) for scene in group}) == 1
        colours, shapes = ({getattr(s.objects[-1], name) for s in group} for name in ("colour", "shape"))
        assert (len(colours), len(shapes), len({small(scene) for scene in group})) == (2, 2, 4)
        x0, y0, x1, y1 = group[0].objects[-1].box
        pictures = [np.asarray(draw_scene(scene)).astype(int) for scene in group]
        for picture in pictures[1:]:
            changed = (picture != pictures[0]).any(2)
            assert changed.any()
            changed[y0:y1, x0:x1] = False
            assert not changed.any()


def test_groups_differ_from_each_other() -> None:
    assert len({scene.objects[:-3] for scene in scenes()}) == len(scenes()) // GROUP


@pytest.mark.parametrize("seed", [1, 3])
def test_every_caption_names_the_small_things_of_one_scene_of_the_series(seed: int) -> None:
    owners: dict[frozenset[str], int] = {}
    for number in range(2000):
        for caption in make_captions(make_scene(seed, number, "crowded")):
            named = frozenset(map("".join, THING.findall(caption.text)))
            assert len(named) == 3
            assert owners.setdefault(named, number) == number
    assert len(owners) == 2000


def test_captions_name_nothing_but_the_small_things_in_known_words() -> None:
    known = set(vocabulary())
    for scene in scenes():
        captions = make_captions(scene)
        assert len(captions) == 5
        for caption in captions:
            assert frozenset(THING.findall(caption.text)) == small(scene)
            assert {k for _, k in caption.phrases} == {len(scene.objects) - number for number in (1, 2, 3)}
            assert set(re.findall(r"\w+|,", caption.text)) <= known


def test_a_series_ends() -> None:
    make_scene(0, LIMIT - 1, "crowded")
    with pytest.raises(QpertError, match="4,000 crowded scenes"):
        make_scene(0, LIMIT, "crowded")
