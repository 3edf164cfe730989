"""Drawing a scene: shapes as polygons that fill their box exactly, on a textured ground with distractors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.datasets.scenes.scene import COLOURS, DRAWING, SCENE_SIZE, Scene

Points = list[tuple[float, float]]
MARK = b"qpert scene"
"""The comment of every scene that is saved as a JPEG, by which scenes are told from real photos."""


def draw_scene(scene: Scene) -> Image.Image:
    """Draw the scene as an RGB picture of SCENE_SIZE x SCENE_SIZE pixels, with `MARK` as its comment."""
    rng = scene.generator(DRAWING)
    picture = _ground(rng, scene.texture)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 5))):  # distractors: thin strokes that are neither named nor annotated
        x, y = rng.uniform(0, SCENE_SIZE, 2)
        length, angle = rng.uniform(8, 40), rng.uniform(0, math.pi)
        grey = tuple(int(v) for v in rng.integers(60, 200, 3))
        pen.line((x, y, x + length * math.cos(angle), y + length * math.sin(angle)), fill=grey, width=2)
    for thing in scene.objects:
        colour = np.clip(np.array(COLOURS[thing.colour]) + rng.integers(-14, 15, 3), 0, 255)
        fill = tuple(int(v) for v in colour)
        edge = tuple(int(v) for v in colour * 0.55)
        x0, y0, x1, y1 = thing.box
        # PIL's polygons include their last pixel; boxes do not.
        points = [(x0 + u * (x1 - 1 - x0), y0 + v * (y1 - 1 - y0)) for u, v in _outline(thing.shape)]
        pen.polygon(points, fill=fill, outline=edge)
    picture.info["comment"] = MARK  # which Pillow saves in a JPEG
    return picture


def _ground(rng: np.random.Generator, texture: str) -> Image.Image:
    """A muted two-tone ground; the tones are greyer than every object's colour."""
    tone = rng.uniform(110, 200) + rng.uniform(-18, 18, 3)
    other = tone + rng.choice([-1, 1]) * rng.uniform(16, 34)
    period, phase, angle = rng.uniform(12, 30), rng.uniform(0, 30, 2), rng.uniform(0, math.pi)
    x, y = _axes()
    if texture == "striped":
        mask = np.sin((x * math.cos(angle) + y * math.sin(angle) + phase[0]) * (2 * math.pi / period)) > 0
    elif texture == "checked":
        mask = (((x + phase[0]) // period).astype(int) + ((y + phase[1]) // period).astype(int)) % 2 == 0
    elif texture == "dotted":
        u, v = (x + phase[0]) % period - period / 2, (y + phase[1]) % period - period / 2
        mask = u * u + v * v < (0.28 * period) ** 2
    elif texture == "grainy":
        coarse = rng.random((SCENE_SIZE // 3, SCENE_SIZE // 3)) > 0.5
        mask = coarse.repeat(3, axis=0).repeat(3, axis=1)
    else:
        mask = np.zeros((SCENE_SIZE, SCENE_SIZE), dtype=bool)
    ground = Image.fromarray(mask.astype(np.uint8), mode="P")
    ground.putpalette(np.clip(np.concatenate([tone, other]), 0, 255).astype(np.uint8).tobytes())
    return ground.convert("RGB")


@cache
def _axes() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    line = np.arange(SCENE_SIZE, dtype=np.float32)
    return line[None, :], line[:, None]


@cache
def _outline(shape: str) -> Points:
    """The shape as a polygon in the unit square, stretched so that it touches all four sides."""
    points = _SHAPES[shape]()
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, top, width, height = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    return [((x - left) / width, (y - top) / height) for x, y in points]


def _arc(radius: float, start: float, stop: float, centre: tuple[float, float] = (0.0, 0.0), steps: int = 36) -> Points:
    angles = [math.radians(start + (stop - start) * i / steps) for i in range(steps + 1)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _star() -> Points:
    tips = [(1.0 if i % 2 == 0 else 0.42, i * math.pi / 5) for i in range(10)]
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for radius, angle in tips]


def _heart() -> Points:
    angles = [2 * math.pi * i / 48 for i in range(48)]
    return [
        (16 * math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)))
        for t in angles
    ]


_SHAPES: dict[str, Callable[[], Points]] = {
    "circle": lambda: _arc(1, 0, 360),
    "square": lambda: [(0, 0), (1, 0), (1, 1), (0, 1)],
    "triangle": lambda: [(0.5, 0), (1, 1), (0, 1)],
    "star": _star,
    "ring": lambda: _arc(1, 0, 360) + _arc(0.5, 360, 0),
    "cross": lambda: [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (2, 2), (2, 3), (1, 3), (1, 2), (0, 2), (0, 1), (1, 1)],
    "heart": _heart,
    "diamond": lambda: [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)],
    "moon": lambda: _arc(1, 50, 310) + _arc(0.85, 295, 65, centre=(0.45, 0.0)),
    "arrow": lambda: [(0, 0.32), (0.5, 0.32), (0.5, 0), (1, 0.5), (0.5, 1), (0.5, 0.68), (0, 0.68)],
}
