"""Five captions for a scene: objects, colours, sizes, places and relations, with the object behind every phrase.

In the `natural` profile an object is named the more readily the larger it is, as people do; in the `balanced` profile
objects are named whatever their size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.scenes.layout import COLOURS, SCENE_SIZE, SHAPES, SIZE_WORDS, TEXTURES, Scene, SceneObject

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
    rng = scene.generator(2)
    return [_caption(scene, kind, rng) for kind in range(CAPTIONS_PER_SCENE)]


def _caption(scene: Scene, kind: int, rng: np.random.Generator) -> Caption:
    named = _named(scene, rng)
    things = scene.objects
    if kind == 0 or (kind == 1 and len(named) < 2):  # a list with sizes, the largest first
        return Caption(_join(["{}"] * len(named)), tuple((_phrase(things[k], size=True), k) for k in named))
    if kind == 1:  # how two of them lie, then the rest
        first, second, *rest = (int(k) for k in rng.permutation(named))
        relation = _relation(things[first], things[second])
        template = f"{{}} {relation} {{}}" + (f", with {_join(['{}'] * len(rest))}" if rest else "")
        return Caption(template, tuple((_phrase(things[k], size=True), k) for k in (first, second, *rest)))
    if kind == 2:  # the ground
        template = f"{_join(['{}'] * len(named))} on a {scene.texture} background"
        return Caption(template, tuple((_phrase(things[k], size=len(named) < 3), k) for k in named))
    if kind == 3:  # where each of them lies
        parts = [f"{{}} {_place(things[k])}" for k in named]
        return Caption(_join(parts), tuple((_phrase(things[k], size=len(named) < 3), k) for k in named))
    shuffled = [int(k) for k in rng.permutation(named)]
    opening = str(rng.choice(["a picture of", "there is", "a scene with"]))
    return Caption(
        f"{opening} {_join(['{}'] * len(named))}",
        tuple((_phrase(things[k], size=bool(rng.random() < 0.8)), k) for k in shuffled),
    )


def _named(scene: Scene, rng: np.random.Generator) -> list[int]:
    """Numbers of the objects that the caption names: at least one, in descending order of size."""
    if scene.profile == "balanced":
        chance = [0.9] * len(scene.objects)
    else:  # 5 % of the tiny ones, 40 % at 5 % of the picture, all that are large
        chance = [min(0.95, 0.05 + 7 * max(0.0, o.area - 0.005)) for o in scene.objects]
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
