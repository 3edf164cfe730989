from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest

from pipeline.datasets.scenes.layout import MIN_AREA, make_scene
from pipeline.datasets.scenes.scene import SCENE_SIZE, Profile, Scene


@cache
def scenes(profile: Profile = "balanced") -> list[Scene]:
    return [make_scene(5, index, profile) for index in range(1500)]


def test_the_same_arguments_give_the_same_scene_and_others_another() -> None:
    assert make_scene(3, 7) == make_scene(3, 7)
    assert len({make_scene(3, 7).objects, make_scene(3, 8).objects, make_scene(4, 7).objects}) == 3
    assert make_scene(3, 7, "natural").objects != make_scene(3, 7).objects


@pytest.mark.parametrize(("profile", "digest"), [("natural", "2243ff2d085095e0"), ("balanced", "a2a44060e04a450c")])
def test_scenes_stay_those_that_published_figures_were_measured_on(profile: Profile, digest: str) -> None:
    layouts = hashlib.sha256()
    for seed in range(4):
        for scene in (make_scene(seed, index, profile) for index in range(60)):
            layouts.update(repr((scene.objects, scene.texture)).encode())
    assert layouts.hexdigest()[:16] == digest


def test_boxes_lie_inside_the_picture_and_objects_go_from_large_to_small() -> None:
    for scene in scenes() + scenes("natural"):
        assert 1 <= len(scene.objects) <= 5
        areas = [thing.area for thing in scene.objects]
        assert areas == sorted(areas, reverse=True)
        assert min(areas) > MIN_AREA / 2
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            assert 0 <= x0 < x1 <= SCENE_SIZE
            assert 0 <= y0 < y1 <= SCENE_SIZE


def test_objects_hide_at_most_a_part_of_the_largest() -> None:
    for scene in scenes():
        for first, a in enumerate(scene.objects):
            for b in scene.objects[first + 1 :]:
                width = min(a.box[2], b.box[2]) - max(a.box[0], b.box[0])
                height = min(a.box[3], b.box[3]) - max(a.box[1], b.box[1])
                assert width <= 0 or height <= 0 or a is scene.objects[0]
                assert a.colour != b.colour


def test_the_largest_objects_of_balanced_scenes_fill_all_ten_bins_evenly() -> None:
    counts, _ = np.histogram([scene.objects[0].area for scene in scenes()], 10, (0, 1))
    assert counts.min() > 0.07 * len(scenes())
    assert counts.max() < 0.14 * len(scenes())


def test_many_objects_are_below_one_percent() -> None:
    tiny = [thing.size_word == "tiny" for scene in scenes() for thing in scene.objects]
    assert np.mean(tiny) > 0.15


def test_natural_scenes_seldom_lack_a_large_object() -> None:
    largest = np.array([scene.objects[0].area for scene in scenes("natural")])
    assert np.mean(largest < 0.05) < 0.05
    assert np.mean(largest > 0.2) > 0.6
