"""The content of a synthetic scene: one to five coloured shapes of every size on a textured ground.

A scene is plain data (`Scene`) that depends only on its profile, seed and index. The two profiles differ in what is
*shown* and *named*, not in how a scene is drawn:

* `natural` imitates photo collections and their captions: the largest object is usually large, and small objects are
  present but seldom named. The miniature models are trained on it.
* `balanced` spreads the area of the largest object over the ten bins of the paper's size analysis (A.1) and names
  objects whatever their size. Retrieval is evaluated on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "diamond", "moon", "arrow")
COLOURS = {
    "red": (214, 40, 40),
    "green": (34, 150, 60),
    "blue": (38, 84, 210),
    "yellow": (250, 214, 30),
    "purple": (140, 60, 190),
    "orange": (250, 130, 20),
    "white": (250, 250, 250),
    "black": (22, 22, 22),
}
TEXTURES = ("plain", "striped", "dotted", "checked", "grainy")
SIZE_WORDS = ((0.01, "tiny"), (0.05, "small"), (0.20, "medium"), (0.50, "large"), (1.01, "huge"))
"""Upper limit of the area (fraction of the picture) that each size word stands for."""

SCENE_SIZE = 192
"""Side of the square pictures, in pixels."""
MIN_AREA = 0.004
"""Smallest object, as a fraction of the picture: a box with sides of 12 pixels."""

Profile = Literal["natural", "balanced"]
_STREAM = {"natural": 1, "balanced": 2}


@dataclass(frozen=True)
class SceneObject:
    """One shape; `box` is (x0, y0, x1, y1) in pixels, half-open, the exact extent of the shape."""

    shape: str
    colour: str
    box: tuple[int, int, int, int]

    @property
    def area(self) -> float:
        """Box area as a fraction of the picture, in 0..1."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0) / SCENE_SIZE**2

    @property
    def size_word(self) -> str:
        """`tiny` (below 1 % of the picture) to `huge` (above 50 %)."""
        return next(word for limit, word in SIZE_WORDS if self.area < limit)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box in pixels."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


@dataclass(frozen=True)
class Scene:
    """Objects from the largest to the smallest, which is also the order in which they are drawn."""

    profile: Profile
    seed: int
    index: int
    objects: tuple[SceneObject, ...]
    texture: str

    @property
    def content(self) -> frozenset[tuple[str, str, str]]:
        """The features that captions can distinguish: the set of (size word, colour, shape)."""
        return frozenset((o.size_word, o.colour, o.shape) for o in self.objects)

    def generator(self, purpose: int) -> np.random.Generator:
        """Random numbers of this scene for one purpose (0 layout, 1 drawing, 2 captions), independent of the others."""
        return np.random.default_rng([_STREAM[self.profile], self.seed, self.index, purpose])


def make_scene(seed: int, index: int, profile: Profile = "balanced") -> Scene:
    """Lay out scene number `index` of the series `seed`; the same arguments always give the same scene."""
    rng = np.random.default_rng([_STREAM[profile], seed, index, 0])
    count = int(rng.integers(1, 6))
    areas = [_largest_area(rng, profile)]
    # Log-uniform below the largest, with an upper limit so that the largest stays recognisable below the others.
    low, high = math.log(MIN_AREA), math.log(max(MIN_AREA, min(0.9 * areas[0], 0.15)))
    areas += sorted((math.exp(rng.uniform(low, high)) for _ in range(count - 1)), reverse=True)
    colours = rng.permutation(list(COLOURS))  # distinct, so that overlapping objects never have the same colour
    objects: list[SceneObject] = []
    for area, colour in zip(areas, colours, strict=False):
        box = _place(rng, area, objects)
        if box is not None:
            objects.append(SceneObject(str(rng.choice(SHAPES)), str(colour), box))
    objects.sort(key=lambda o: -o.area)
    return Scene(profile, seed, index, tuple(objects), str(rng.choice(TEXTURES)))


def _largest_area(rng: np.random.Generator, profile: Profile) -> float:
    if profile == "natural":  # two thirds above 20 % of the picture, one in twenty below 5 %
        return float(np.clip(rng.beta(1.6, 2.4), MIN_AREA, 0.99))
    bin_ = int(rng.integers(10))
    if bin_ == 0:  # log-uniform: about a third of the smallest bin has nothing above 1 %
        return float(math.exp(rng.uniform(math.log(MIN_AREA), math.log(0.1))))
    return float(rng.uniform(bin_ / 10, min((bin_ + 1) / 10, 0.995)))


def _place(rng: np.random.Generator, area: float, placed: list[SceneObject]) -> tuple[int, int, int, int] | None:
    """A box of about this area that overlaps at most the largest object; None if there is no room."""
    for _ in range(30):
        aspect = math.exp(rng.uniform(-0.2, 0.2) * (1 - area))
        width = min(SCENE_SIZE, max(1, round(SCENE_SIZE * math.sqrt(area * aspect))))
        height = min(SCENE_SIZE, max(1, round(SCENE_SIZE * math.sqrt(area / aspect))))
        x0, y0 = int(rng.integers(SCENE_SIZE - width + 1)), int(rng.integers(SCENE_SIZE - height + 1))
        box = (x0, y0, x0 + width, y0 + height)
        if all(_apart(box, other.box) for other in placed[1:]) and (not placed or _clear(box, placed[0])):
            return box
    return None


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def _clear(box: tuple[int, int, int, int], largest: SceneObject) -> bool:
    """Whether a box does not hide the largest object: it may lie on a large object, but not on a small one."""
    return largest.area >= 0.2 or _apart(box, largest.box)
