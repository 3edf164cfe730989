"""The profile `crowded`: many objects, and captions that name the three smallest alone.

The crowd is black and white, the small things are of other colours, so that the words of a caption are about them and
about nothing else in any photo. No two scenes of a series have small things of the same colours and shapes: a caption
that states them is true of one scene alone. They are told by nothing but colour and shape because that is what the
miniature models can read: they know neither places nor grounds.

Four consecutive scenes form a group: the same ground, the same crowd, the same two small things, and a third, the
smallest, in the same box but of one of two colours and one of two shapes. Whoever tells them apart has looked at it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.datasets.scenes.scene import (
    COLOURS,
    GROUP,
    LAYOUT,
    SCENE_SIZE,
    SHAPES,
    TEXTURES,
    Box,
    Scene,
    SceneObject,
    random_numbers,
)
from pipeline.errors import QpertError

SMALL_THINGS = 3
"""Objects that captions name: the smallest."""
COUNTS = (8, 12)
"""Least and most objects of a scene."""
SMALL_AREAS = (0.018, 0.028)
"""Areas of the small things, as fractions of the picture: boxes with sides of 26 to 32 pixels."""
CROWD_COLOURS = ("white", "black")
SMALL_COLOURS = tuple(colour for colour in COLOURS if colour not in CROWD_COLOURS)
LIMIT = 4000
"""Scenes of a series."""

_LARGEST = (0.05, 0.2)
_OTHERS = (0.032, 0.05)
"""Areas of the largest object of the crowd, and of the others."""
_GAP = 2
"""Pixels between any two objects."""
_PLAN = 3
"""Purpose of the random numbers that a whole series shares, after those of `scene`."""

Look = tuple[str, str]
"""A colour and a shape."""


@dataclass(frozen=True)
class _SmallThings:
    """What the small things of a group look like: the same in all four scenes, and the smallest in each of them."""

    same: tuple[Look, ...]
    differing: tuple[Look, ...]

    @property
    def of_scenes(self) -> list[frozenset[Look]]:
        """All small things of each of the four scenes."""
        return [frozenset((*self.same, look)) for look in self.differing]


def make_crowded(seed: int, index: int) -> Scene:
    """Lay out crowded scene number `index` of the series `seed`.

    Raises:
        QpertError: the series has fewer scenes.
    """
    check_crowded(index + 1)
    group, member = divmod(index, GROUP)
    small = _plan(seed)[group]
    looks = (*small.same, small.differing[member])
    rng = random_numbers("crowded", seed, group, LAYOUT)
    areas = sorted((float(rng.uniform(*SMALL_AREAS)) for _ in looks), reverse=True)
    boxes = None
    while boxes is None:
        boxes = _place_all(rng, areas)
    first = len(boxes) - len(looks)
    pairs = [(colour, shape) for colour in CROWD_COLOURS for shape in SHAPES]
    crowd = [pairs[k] for k in rng.permutation(len(pairs))[:first]]
    objects = [SceneObject(shape, colour, box) for (colour, shape), box in zip([*crowd, *looks], boxes, strict=True)]
    return Scene("crowded", seed, index, tuple(objects), str(rng.choice(TEXTURES)))


def check_crowded(count: int) -> None:
    """Raise QpertError if a series does not have as many crowded scenes."""
    if count > LIMIT:
        raise QpertError(f"a series has {LIMIT:,} crowded scenes: ask for no more, or for another profile")


@lru_cache(maxsize=4)
def _plan(seed: int) -> tuple[_SmallThings, ...]:
    """The small things of all groups of a series, no two scenes with the same."""
    rng = random_numbers("crowded", seed, 0, _PLAN)
    groups: list[_SmallThings] = []
    seen: set[frozenset[Look]] = set()
    while len(groups) * GROUP < LIMIT:
        colours = [str(colour) for colour in rng.permutation(SMALL_COLOURS)[: SMALL_THINGS + 1]]
        shapes = [str(shape) for shape in rng.choice(SHAPES, SMALL_THINGS - 1)]
        two_shapes = [str(shape) for shape in rng.permutation(SHAPES)[:2]]
        same = tuple(zip(colours[2:], shapes, strict=True))
        small = _SmallThings(same, tuple((colour, shape) for shape in two_shapes for colour in colours[:2]))
        if seen.isdisjoint(small.of_scenes):
            seen.update(small.of_scenes)
            groups.append(small)
    return tuple(groups)


def _place_all(rng: np.random.Generator, small: Sequence[float]) -> list[Box] | None:
    """Boxes of a crowd and of small things, from large to small, apart from each other; None if there was no room."""
    count = int(rng.integers(COUNTS[0], COUNTS[1] + 1)) - len(small)
    areas = [float(rng.uniform(*_LARGEST)), *(float(rng.uniform(*_OTHERS)) for _ in range(count - 1))]
    boxes: list[Box] = []
    for area in [*sorted(areas, reverse=True), *small]:
        box = _place(rng, area, boxes)
        if box is None:
            return None
        boxes.append(box)
    # Whole pixels may change the order of areas that are nearly the same.
    order = sorted(range(len(boxes)), key=lambda k: -_pixels(boxes[k]))
    return [boxes[k] for k in order]


def _place(rng: np.random.Generator, area: float, taken: Sequence[Box]) -> Box | None:
    """A box of about this area where there is room; None if 100 places have none."""
    for _ in range(100):
        aspect = math.exp(rng.uniform(-0.2, 0.2))
        width, height = (round(SCENE_SIZE * math.sqrt(share)) for share in (area * aspect, area / aspect))
        x, y = int(rng.integers(SCENE_SIZE - width + 1)), int(rng.integers(SCENE_SIZE - height + 1))
        box = (x, y, x + width, y + height)
        if all(apart(box, other, _GAP) for other in taken):
            return box
    return None


def apart(a: Box, b: Box, gap: int = 0) -> bool:
    """Whether two boxes do not overlap, and keep at least `gap` pixels between them."""
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def _pixels(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
