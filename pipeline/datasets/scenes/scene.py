"""What a scene is: coloured shapes of a picture, the words for them, and its random numbers."""

from __future__ import annotations

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

Profile = Literal["natural", "balanced", "crowded"]
GROUP = 4
"""Consecutive scenes of the profile `crowded` that differ in their smallest object alone."""
LAYOUT, DRAWING, CAPTIONS = 0, 1, 2
"""What the random numbers of a scene are for."""
Box = tuple[int, int, int, int]
_STREAM = {"natural": 1, "balanced": 2, "crowded": 3}


@dataclass(frozen=True)
class SceneObject:
    """One shape; `box` is (x0, y0, x1, y1) in pixels, half-open, the exact extent of the shape."""

    shape: str
    colour: str
    box: Box

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

    @property
    def group(self) -> int:
        """Number that scenes with the same ground and the same objects but for the smallest share."""
        return self.index // GROUP if self.profile == "crowded" else self.index

    def generator(self, purpose: int) -> np.random.Generator:
        """Random numbers of this scene for one purpose, independent of the others.

        Scenes of a group share the numbers they are laid out and drawn by.
        """
        return random_numbers(self.profile, self.seed, self.index if purpose == CAPTIONS else self.group, purpose)


def random_numbers(profile: Profile, seed: int, number: int, purpose: int) -> np.random.Generator:
    """Random numbers of one scene, or of one group of scenes, for one purpose."""
    return np.random.default_rng([_STREAM[profile], seed, number, purpose])
