"""The variants of an experiment: named settings, each embedded once, whichever tables of the paper it belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.experiments import paper
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation, Weight
from pipeline.retrieval.view_scores import Combine

Settings = dict[str, Perturbation | None]
"""Name -> perturbation; None: plain."""

PLAIN = "plain"
CHOSEN = "Q-Pert. (E)"
ORTHOGONAL = "OrQ-Pert."
OES = "OEs"
DETECTED = "Q-Pert. (D)"
"""Names as in Table A; `CHOSEN` has annotated boxes, (E)."""
PLAIN_ITM = "plain, ITM plain"
"""Contrast without objects, re-ranked by matching without objects."""
CHOSEN_PLAIN_ITM = f"{CHOSEN}, ITM plain"
"""Perturbed in contrast, re-ranked by matching without objects: most likely what Table A shows."""


@dataclass(frozen=True)
class Variant:
    """One embedding of all photos.

    Attributes:
        store: the feature set.
        name: which of its embeddings.
        with_objects: add the scores of object embeddings to its own.
        views: the kinds of views that count, of a set with several per photo (see `ViewScore`); none for all.
        combine: how their scores become the photo's.
    """

    store: FeatureStore
    name: str
    with_objects: bool = False
    views: tuple[str, ...] = ()
    combine: Combine = "max"


def table_a(chosen: Perturbation) -> Settings:
    """Plain, the chosen perturbation, and its orthogonal control."""
    return {PLAIN: None, CHOSEN: chosen, ORTHOGONAL: dataclasses.replace(chosen, operator="orthogonal")}


def matched(chosen: Perturbation) -> dict[str, tuple[str, Perturbation | None]]:
    """Settings to re-rank by image-text matching: the variant whose contrast is used, and the perturbation of matching.

    The paper perturbs contrast alone, the released code matching as well.
    """
    perturbed = dataclasses.replace(chosen, stages=("itc", "itm"))
    return {
        PLAIN_ITM: (PLAIN, None),
        CHOSEN_PLAIN_ITM: (CHOSEN, None),
        f"{CHOSEN}, ITM perturbed": (CHOSEN, perturbed),
    }


def grid(scales: Sequence[float]) -> Settings:
    """The settings of tables C and D."""
    points = dict.fromkeys([*grid_points("C", scales), *grid_points("D", scales)])
    return {
        grid_name(weight, scale, threshold): Perturbation.paper(scale, threshold, weight)
        for weight, scale, threshold in points
    }


def grid_points(table: str, scales: Sequence[float]) -> list[tuple[Weight, float, float]]:
    """(weight, scale, threshold) of the cells of Table C ("C") or D ("D"), row by row.

    D is at the last scale of C, and C at the last threshold of D, so the two tables share one column.
    """
    if table == "C":
        return [(weight, scale, paper.TABLE_C_THRESHOLD) for weight in paper.WEIGHTS for scale in scales]
    return [(weight, scales[-1], threshold) for weight in paper.WEIGHTS for threshold in paper.THRESHOLDS]


def grid_name(weight: str, scale: float, threshold: float) -> str:
    """The name of one point of the grid."""
    return f"{weight}, scale {scale:g}, threshold {threshold:g}"


def switches(chosen: Perturbation) -> Settings:
    """The chosen perturbation with one switch at a time set to the released code's value, and then with all of them.

    The switch `stages` is left out: contrast alone is measured here, and there is no matching stage to perturb.
    """
    released = Perturbation.released(chosen.scale, weight=chosen.weight)
    changed = {
        f"{name} = {getattr(released, name)}": dataclasses.replace(chosen, **{name: getattr(released, name)})
        for name in ("operator", "combine", "tokens", "weight", "threshold", "min_components")
        if getattr(released, name) != getattr(chosen, name)
    }
    everything = dataclasses.replace(released, stages=chosen.stages)
    return {**changed, "all of them (released)": everything}
