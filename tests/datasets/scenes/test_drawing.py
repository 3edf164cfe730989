from __future__ import annotations

import numpy as np
import pytest

from pipeline.datasets.scenes.drawing import draw_scene
from pipeline.datasets.scenes.layout import make_scene
from pipeline.datasets.scenes.scene import COLOURS, SCENE_SIZE, SHAPES, Scene, SceneObject


def test_a_scene_is_always_drawn_the_same() -> None:
    scene = make_scene(2, 4)
    assert np.array_equal(np.asarray(draw_scene(scene)), np.asarray(draw_scene(scene)))
    assert draw_scene(scene).size == (SCENE_SIZE, SCENE_SIZE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("box", [(20, 30, 32, 43), (5, 9, 150, 180)])
def test_a_shape_fills_its_box_exactly(shape: str, box: tuple[int, int, int, int]) -> None:
    """The pixels that differ from the same background without the object span exactly its box."""
    empty = Scene("balanced", 0, 0, (), "plain")
    drawn = Scene("balanced", 0, 0, (SceneObject(shape, "red", box),), "plain")
    changed = (np.asarray(draw_scene(drawn)) != np.asarray(draw_scene(empty))).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == box


@pytest.mark.parametrize("colour", COLOURS)
def test_an_object_has_its_colour(colour: str) -> None:
    scene = Scene("balanced", 0, 3, (SceneObject("square", colour, (40, 40, 140, 140)),), "striped")
    middle = np.asarray(draw_scene(scene))[80:100, 80:100].reshape(-1, 3).mean(0)
    nearest = min(COLOURS, key=lambda name: float(np.abs(middle - COLOURS[name]).sum()))
    assert nearest == colour


@pytest.mark.parametrize("texture", ["striped", "dotted", "checked", "grainy"])
def test_the_ground_is_textured(texture: str) -> None:
    picture = np.asarray(draw_scene(Scene("balanced", 1, 1, (), texture)))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) >= 2
