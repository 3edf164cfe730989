"""Figure B in numbers: is the emphasised object named in the caption? On scenes, where every object is known.

The paper shows examples. Here every object of every scene is emphasised in turn, with its true box, and looked for in
the caption: its colour, which no other object of the scene has, is mentioned; is mentioned first; and is mentioned with
the right shape. Too much emphasis makes nonsense, so the share of true things among all that captions name counts too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.datasets.scenes import COLOURS, SCENE_SIZE, SHAPES, Scene, distinct_scenes, draw_scene
from pipeline.encoders.base import Encoder
from pipeline.encoders.emphasis import emphases, emphasised_captions
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.reports.text_table import Table, interval_text, percent, points

SMALL = 0.1
"""Largest area, as a fraction of the picture, of the objects that are counted separately as well."""
_BATCH = 50
_THING = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})")

Floats = np.ndarray


@dataclass(frozen=True)
class Naming:
    """What the captions of one setting say, object by object.

    Attributes:
        told: [objects] 1 if the caption mentions a thing of the object's colour.
        first: [objects] 1 if that is the first thing that it mentions.
        named: [objects] 1 if it mentions a thing of the object's colour and shape.
        true: [objects] share of the mentioned things that are in the scene; 1 if the caption mentions nothing.
    """

    told: Floats
    first: Floats
    named: Floats
    true: Floats


@dataclass(frozen=True)
class FigureB:
    """The effect of emphasis.

    Attributes:
        scene: [objects] the scene of each object, for resampling.
        area: [objects] its share of the picture.
        plain: without emphasis; the caption is the same for all objects of a scene.
        emphasised: setting -> with the object emphasised.
    """

    scene: np.ndarray
    area: Floats
    plain: Naming
    emphasised: dict[str, Naming]


def things(caption: str) -> list[tuple[str, str]]:
    """(colour, shape) of everything that a caption mentions, in its order."""
    return [(colour, shape) for colour, shape in _THING.findall(caption)]


def scene_objects(scene: Scene) -> Objects:
    """The true boxes, labelled by colour and shape."""
    boxes = torch.tensor([thing.box for thing in scene.objects], dtype=torch.float32) / SCENE_SIZE
    labels = [f"{thing.colour} {thing.shape}" for thing in scene.objects]
    return Objects(boxes, labels, torch.ones(len(labels)), (SCENE_SIZE, SCENE_SIZE))


@torch.no_grad()
def measure_figure_b(encoder: Encoder, settings: dict[str, Perturbation], count: int, seed: int) -> FigureB:
    """Captions `count` distinct scenes of the series `seed`, plain and with each object emphasised in each setting."""
    scenes = list(distinct_scenes(count, seed))
    plain: list[str] = []
    changed: dict[str, list[str]] = {name: [] for name in settings}
    owners: list[int] = []
    for start in range(0, count, _BATCH):
        some = scenes[start : start + _BATCH]
        objects = [scene_objects(scene) for scene in some]
        wanted = [emphases(of_scene, "all") for of_scene in objects]
        tokens = encoder.backbone(torch.stack([encoder.preprocess(draw_scene(scene)) for scene in some]))
        pairs = [(row, emphasis) for row, of_scene in enumerate(wanted) for emphasis in of_scene]
        unchanged = encoder.caption(tokens)
        plain += [unchanged[row] for row, _ in pairs]
        owners += [start + row for row, _ in pairs]
        for name, setting in settings.items():
            changed[name] += emphasised_captions(encoder, tokens, objects, pairs, setting)
    targets = [(thing.colour, thing.shape) for scene in scenes for thing in scene.objects]
    shown = [{(thing.colour, thing.shape) for thing in scenes[owner].objects} for owner in owners]
    return FigureB(
        scene=np.array(owners),
        area=np.array([thing.area for scene in scenes for thing in scene.objects]),
        plain=_naming(plain, targets, shown),
        emphasised={name: _naming(texts, targets, shown) for name, texts in changed.items()},
    )


def _naming(
    captions: Sequence[str], targets: Sequence[tuple[str, str]], shown: Sequence[set[tuple[str, str]]]
) -> Naming:
    told, first, named, true = [], [], [], []
    for caption, target, in_scene in zip(captions, targets, shown, strict=True):
        mentioned = things(caption)
        colours = [colour for colour, _ in mentioned]
        told.append(target[0] in colours)
        first.append(colours[:1] == [target[0]])
        named.append(target in mentioned)
        true.append(np.mean([thing in in_scene for thing in mentioned]) if mentioned else 1.0)
    return Naming(*(np.array(values, np.float64) for values in (told, first, named, true)))


def figure_b_table(figure: FigureB, *, samples: int, seed: int) -> tuple[str, Table]:
    """A note, and a row per setting: shares in percent, and paired differences with intervals over scenes."""
    small = figure.area < SMALL
    scenes = len(np.unique(figure.scene))
    note = (
        f"{scenes} scenes; each of their {len(small)} objects ({int(small.sum())} of them below {SMALL:.0%} of the"
        " picture) was emphasised by itself, with its true box. told: the caption mentions a thing of its colour, which"
        " no other object of the scene has; first: it mentions that thing first; named: it mentions a thing of its"
        " colour and shape. true: the share of mentioned things that are in the scene. Differences to plain with 95 %"
        " bootstrap intervals over scenes."
    )
    kinds = ("told", "first", "named")
    headers = [""]
    for kind in kinds:
        headers += [kind, "over plain", "95 % interval"]
    headers += ["true", "small: told", "over plain", "95 % interval"]
    draws = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), size=samples)
    rows = []
    plain, only_small = figure.plain, np.where(small, 1.0, np.nan)
    for name, naming in (("plain", plain), *figure.emphasised.items()):
        row, compared = [name], name != "plain"
        for kind in kinds:
            row += _cells(getattr(naming, kind), getattr(plain, kind), figure.scene, draws, compared=compared)
        row.append(percent(float(naming.true.mean())))
        row += _cells(naming.told * only_small, plain.told * only_small, figure.scene, draws, compared=compared)
        rows.append(row)
    return note, (headers, rows)


def _cells(here: Floats, plain: Floats, scene: np.ndarray, draws: np.ndarray, *, compared: bool) -> list[str]:
    """The mean of `here` [objects] (NaN: left out), its difference to `plain`, and the interval of the difference.

    Whole scenes are drawn, with all of their objects; a draw without any object of the kind has no mean.
    """
    kept = ~np.isnan(here)
    if not kept.any():
        return ["-", "", ""]
    mean = percent(float(here[kept].mean()))
    if not compared:
        return [mean, "", ""]
    change, number = (here - plain)[kept], np.unique(scene, return_inverse=True)[1][kept]
    scenes = draws.shape[1]
    sums, counts = np.bincount(number, change, scenes), np.bincount(number, minlength=scenes)
    with np.errstate(invalid="ignore"):
        means = (draws @ sums) / (draws @ counts)
    low, high = np.nanquantile(means, (0.025, 0.975))
    return [mean, points(float(change.mean())), interval_text((float(low), float(high)), signed=True)]
