from __future__ import annotations

import re
from functools import cache

import numpy as np

from pipeline.datasets.scenes.captions import make_captions, vocabulary
from pipeline.datasets.scenes.layout import make_scene
from pipeline.datasets.scenes.scene import Profile, Scene, SceneObject


@cache
def scenes(profile: Profile, count: int = 400) -> list[Scene]:
    return [make_scene(9, index, profile) for index in range(count)]


def test_five_captions_whose_phrases_name_their_objects() -> None:
    for scene in scenes("balanced", 100):
        captions = make_captions(scene)
        assert len(captions) == 5
        assert captions == make_captions(scene)
        for caption in captions:
            assert caption.phrases
            for phrase, k in caption.phrases:
                thing = scene.objects[k]
                assert phrase.endswith(f"{thing.colour} {thing.shape}")
                assert phrase in caption.text


def test_captions_name_sizes_places_and_relations() -> None:
    text = "\n".join(c.text for scene in scenes("balanced") for c in make_captions(scene))
    for words in ("tiny", "huge", "to the left of", "above", "on top of", "at the top left", "striped background"):
        assert words in text


def test_relations_are_true() -> None:
    left = SceneObject("star", "red", (10, 90, 40, 120))
    right = SceneObject("ring", "blue", (100, 90, 160, 150))
    for index in range(40):
        caption = make_captions(Scene("balanced", 0, index, (right, left), "plain"))[1]
        if "left of" in caption.text:
            assert [k for _, k in caption.phrases] == [1, 0]
        elif "right of" in caption.text:
            assert [k for _, k in caption.phrases] == [0, 1]


def test_small_objects_are_named_in_balanced_captions_and_seldom_in_natural_ones() -> None:
    def share(profile: Profile) -> float:
        named = [
            any(k == number for _, k in caption.phrases)
            for scene in scenes(profile)
            for number, thing in enumerate(scene.objects)
            for caption in make_captions(scene)
            if thing.area < 0.01 and number > 0
        ]
        return float(np.mean(named))

    assert share("balanced") > 0.85
    assert share("natural") < 0.35


def test_the_vocabulary_holds_every_word() -> None:
    known = set(vocabulary())
    for profile in ("natural", "balanced"):
        for scene in scenes(profile):
            for caption in make_captions(scene):
                assert set(re.findall(r"\w+|,", caption.text)) <= known


def test_marked_captions_are_in_the_notation_of_flickr30k_entities() -> None:
    scene = make_scene(1, 1)
    caption = make_captions(scene)[0]
    marked = caption.marked(100)
    assert marked.count("[/EN#") == len(caption.phrases)
    assert re.sub(r"\[/EN#\d+/shapes ([^\]]*)\]", r"\1", marked) == caption.text
