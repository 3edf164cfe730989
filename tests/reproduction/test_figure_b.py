"""Figure B in numbers: what captions mention, and the table, with an encoder whose captions are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.datasets.scenes import distinct_scenes
from pipeline.method.settings import Perturbation
from pipeline.reproduction.figure_b import FigureB, Naming, figure_b_table, measure_figure_b, scene_objects, things


def test_things_are_colours_with_shapes() -> None:
    caption = "a huge blue moon above a red star, with an orange ring on a striped background"
    assert things(caption) == [("blue", "moon"), ("red", "star"), ("orange", "ring")]
    assert things("a large striped background") == []


class Obedient:
    """Names the emphasised object, from scale 2 on; else the largest object of the first scene of all."""

    def preprocess(self, image: Any) -> torch.Tensor:
        return torch.zeros(1)

    def backbone(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels

    def caption(self, tokens: torch.Tensor, objects: Any = None, perturbation: Any = None) -> list[str]:
        if objects is None or perturbation.scale < 2:
            first = next(distinct_scenes(1, 7)).objects[0]
            return [f"a {first.colour} {first.shape}"] * len(tokens)
        return [f"a picture of a {of_photo.labels[0]} and a pink star" for of_photo in objects]


def test_every_object_is_emphasised_and_searched_for_in_the_caption() -> None:
    settings = {f"scale {scale}": Perturbation(scale=scale, stages=("lm",)) for scale in (1, 2)}
    figure = measure_figure_b(Obedient(), settings, 60, 7)  # type: ignore[arg-type]
    scenes = list(distinct_scenes(60, 7))
    assert figure.scene.tolist() == [number for number, scene in enumerate(scenes) for _ in scene.objects]
    assert figure.area.tolist() == [thing.area for scene in scenes for thing in scene.objects]
    one = (scenes[0].objects[0].colour, scenes[0].objects[0].shape)
    same = [float((thing.colour, thing.shape) == one) for scene in scenes for thing in scene.objects]
    shown = [float(any((t.colour, t.shape) == one for t in scene.objects)) for scene in scenes for _ in scene.objects]
    coloured = [float(thing.colour == one[0]) for scene in scenes for thing in scene.objects]
    assert figure.plain.named.tolist() == same
    assert figure.plain.told.tolist() == figure.plain.first.tolist() == coloured
    assert coloured != same
    assert figure.plain.true.tolist() == shown
    assert figure.emphasised["scale 1"].named.tolist() == same
    assert figure.emphasised["scale 2"].named.all()
    assert figure.emphasised["scale 2"].first.all()
    assert figure.emphasised["scale 2"].true.all()  # pink is not a colour of scenes, so it does not count
    assert scene_objects(scenes[0]).labels[0] == " ".join(one)


def test_the_table_has_paired_intervals_over_scenes() -> None:
    scene = np.repeat(np.arange(40), 2)
    nothing, half = np.zeros(80), (np.arange(80) % 2).astype(float)
    plain = Naming(nothing, nothing, nothing, np.ones(80))
    figure = FigureB(scene, np.where(half, 0.05, 0.5), plain, {"strong": Naming(half, nothing, nothing, half)})
    note, (headers, rows) = figure_b_table(figure, samples=200, seed=0)
    assert "40 scenes; each of their 80 objects (40 of them below 10% of the picture)" in note
    assert all(len(row) == len(headers) for row in rows)
    assert rows[0][:4] == ["plain", "0.00", "", ""]
    assert rows[1][:4] == ["strong", "50.00", "+50.00", "+50.00 to +50.00"]  # every scene alike: no spread
    assert rows[1][4:7] == rows[1][7:10] == ["0.00", "+0.00", "+0.00 to +0.00"]
    assert rows[1][10:] == ["50.00", "100.00", "+100.00", "+100.00 to +100.00"]
    none_small = FigureB(scene, np.ones(80), plain, {})
    assert figure_b_table(none_small, samples=200, seed=0)[1][1][0][11:] == ["-", "", ""]


def test_the_interval_is_that_of_drawn_scenes() -> None:
    rng = np.random.default_rng(1)
    scene = np.arange(400)
    zeros = np.zeros(400)
    plain = Naming(zeros, zeros, zeros, np.ones(400))
    named = (rng.random(400) < 0.3).astype(float)
    _, (_, rows) = figure_b_table(
        FigureB(scene, np.ones(400), plain, {"x": Naming(named, named, named, named)}), samples=4000, seed=2
    )
    low, high = map(float, rows[1][3].split(" to "))
    width = 2 * 1.96 * 100 * (named.mean() * (1 - named.mean()) / 400) ** 0.5
    assert high - low == pytest.approx(width, rel=0.1)
