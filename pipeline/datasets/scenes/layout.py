"""The content of a synthetic scene: coloured shapes on a textured ground.

A scene is plain data (`Scene`) that depends only on its profile, seed and index. The profiles differ in what is
*shown* and *named*, not in how a scene is drawn. `natural` and `balanced` show one to five objects of every size:

* `natural` imitates photo collections and their captions: the largest object is usually large, and small objects are
  present but seldom named. The miniature models are trained on it.
* `balanced` spreads the area of the largest object over the ten bins of the paper's size analysis (A.1) and names
  objects whatever their size. Retrieval is evaluated on it.

`crowded` shows many objects and names the smallest alone: see `crowds`.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.datasets.scenes.crowds import apart, make_crowded
from pipeline.datasets.scenes.scene import (
    COLOURS,
    LAYOUT,
    SCENE_SIZE,
    SHAPES,
    TEXTURES,
    Box,
    Profile,
    Scene,
    SceneObject,
    random_numbers,
)

MIN_AREA = 0.004
"""Smallest object, as a fraction of the picture: a box with sides of 12 pixels."""


def make_scene(seed: int, index: int, profile: Profile = "balanced") -> Scene:
    """Lay out scene number `index` of the series `seed`; the same arguments always give the same scene.

    Raises:
        QpertError: a series of the profile `crowded` has fewer scenes.
    """
    if profile == "crowded":
        return make_crowded(seed, index)
    rng = random_numbers(profile, seed, index, LAYOUT)
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


def _place(rng: np.random.Generator, area: float, placed: list[SceneObject]) -> Box | None:
    """A box of about this area that overlaps at most the largest object; None if there is no room."""
    for _ in range(30):
        aspect = math.exp(rng.uniform(-0.2, 0.2) * (1 - area))
        width = min(SCENE_SIZE, max(1, round(SCENE_SIZE * math.sqrt(area * aspect))))
        height = min(SCENE_SIZE, max(1, round(SCENE_SIZE * math.sqrt(area / aspect))))
        x0, y0 = int(rng.integers(SCENE_SIZE - width + 1)), int(rng.integers(SCENE_SIZE - height + 1))
        box = (x0, y0, x0 + width, y0 + height)
        if all(apart(box, other.box) for other in placed[1:]) and (not placed or _clear(box, placed[0])):
            return box
    return None


def _clear(box: Box, largest: SceneObject) -> bool:
    """Whether a box does not hide the largest object: it may lie on a large object, but not on a small one."""
    return largest.area >= 0.2 or apart(box, largest.box)
