"""Five captions for a scene: objects, colours, sizes, places and relations, with the object behind every phrase.

In the `natural` profile larger objects are named more often, as people do; in the `balanced` profile objects are named
whatever their size. In the `crowded` profile the three smallest are, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.scenes.crowds import SMALL_THINGS
from pipeline.datasets.scenes.scene import (
    CAPTIONS,
    COLOURS,
    SCENE_SIZE,
    SHAPES,
    SIZE_WORDS,
    TEXTURES,
    Scene,
    SceneObject,
)

CAPTIONS_PER_SCENE = 5


@dataclass(frozen=True)
class Caption:
    """A template with one `{}` for each phrase, and for each phrase its text and the number of its object."""

    template: str
    phrases: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        """The plain caption."""
        return self.template.format(*(phrase for phrase, _ in self.phrases))

    def marked(self, first_id: int) -> str:
        """The caption in the notation of Flickr30K Entities' Sentences files."""
        return self.template.format(*(f"[/EN#{first_id + k}/shapes {phrase}]" for phrase, k in self.phrases))


def make_captions(scene: Scene) -> list[Caption]:
    """Five captions of the scene; the same scene always gets the same five."""
    rng = scene.generator(CAPTIONS)
    return [_caption(scene, kind, rng) for kind in range(CAPTIONS_PER_SCENE)]


def _caption(scene: Scene, kind: int, rng: np.random.Generator) -> Caption:
    """Caption number `kind`; if few objects are named, it describes them in more detail."""
    named, things = _named(scene, rng), scene.objects
    few = len(named) == 1
    ground = f" on a {scene.texture} background"
    sizes = [True] * len(named)
    if kind == 0:  # a list with sizes, largest first
        template = _join([f"{{}} {_place(things[k])}" if few else "{}" for k in named])
    elif kind == 1 and few:
        template = f"{{}} {_place(things[named[0]])}{ground}"
    elif kind == 1:  # how two objects relate, then the rest
        named = [int(k) for k in rng.permutation(named)]
        rest = f", with {_join(['{}'] * len(named[2:]))}" if named[2:] else ""
        template = f"{{}} {_relation(things[named[0]], things[named[1]])} {{}}{rest}"
    elif kind == 2:  # with the background
        template, sizes = _join(["{}"] * len(named)) + ground, [len(named) < 4] * len(named)
    elif kind == 3:  # the place of each object
        template, sizes = _join([f"{{}} {_place(things[k])}" for k in named]), [len(named) < 3] * len(named)
    else:  # in any order
        named = [int(k) for k in rng.permutation(named)]
        opening = str(rng.choice(["a picture of", "there is", "a scene with"]))
        template, sizes = f"{opening} {_join(['{}'] * len(named))}", [bool(rng.random() < 0.8) for _ in named]
        template += ground if few else ""
    return Caption(template, tuple((_phrase(things[k], size=size), k) for k, size in zip(named, sizes, strict=True)))


def _named(scene: Scene, rng: np.random.Generator) -> list[int]:
    """Numbers of the objects that the caption names: at least one, in descending order of size."""
    if scene.profile == "crowded":
        return list(range(len(scene.objects)))[-SMALL_THINGS:]
    if scene.profile == "balanced":
        chance = [0.95] * len(scene.objects)
    else:  # a quarter of the tiny objects, half of those at 3 % of the picture, nearly all above 7 %
        chance = [min(0.95, 0.15 + 12 * o.area) for o in scene.objects]
    named = [k for k, p in enumerate(chance) if rng.random() < p]
    return named or [0]


def _phrase(thing: SceneObject, *, size: bool) -> str:
    words = ([thing.size_word] if size else []) + [thing.colour, thing.shape]
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _relation(a: SceneObject, b: SceneObject) -> str:
    (ax, ay), (bx, by) = a.centre, b.centre
    if b.box[0] <= ax < b.box[2] and b.box[1] <= ay < b.box[3] and a.area < b.area:
        return "on top of"
    if abs(ax - bx) > abs(ay - by):
        return "to the left of" if ax < bx else "to the right of"
    return "above" if ay < by else "below"


def _place(thing: SceneObject) -> str:
    column, row = (int(3 * c / SCENE_SIZE) for c in thing.centre)
    if row == 1:
        return ("at the left", "in the middle", "at the right")[column]
    return f"at the {('top', '', 'bottom')[row]}{(' left', '', ' right')[column]}"


def vocabulary() -> list[str]:
    """Every word that a caption can contain, in a fixed order: the miniature models' word list."""
    words = [
        "a",
        "an",
        "and",
        "with",
        "on",
        "of",
        "picture",
        "there",
        "is",
        "scene",
        "background",
        "to",
        "the",
        "in",
        "at",
    ]
    words += ["left", "right", "above", "below", "top", "bottom", "middle", ","]
    words += [word for _, word in SIZE_WORDS] + list(COLOURS) + list(SHAPES) + list(TEXTURES)
    return list(dict.fromkeys(words))
