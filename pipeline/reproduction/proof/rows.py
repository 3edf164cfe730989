"""The rows of the table of proof: the method, its controls, one switch from the chosen setting each, and its rivals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.experiments.variants import OES, PLAIN, Settings
from pipeline.method.settings import Perturbation
from pipeline.retrieval.view_scores import Combine
from pipeline.stages.multi_config import VIEWS, MultiKind

PAPER = "Q-Pert. (paper)"
ONE_COMPONENT = "Q-Pert. (one component)"
"""The paper's, but the first component of every object is kept, as in the released code."""
CHOSEN = "Q-Pert. (chosen)"
SHUFFLED = "shuffled boxes"
ELSEWHERE = "elsewhere"
RANDOM = "random"
NORM = "norm kept"
FREE = "norm free"
ADDED = "orthogonal (added)"
WORDED = "orthogonal (as worded)"
HI_RES: Final = "hi-res"
"""The same encoder at twice the resolution: one vector and one pass, of about four times the work or more."""
Rival = Literal[MultiKind, "hi-res"]
RIVALS: Final[tuple[Rival, ...]] = ("regions", "crops", "tiles", "clusters", "objects", HI_RES)
"""Further vectors of each photo, and a higher resolution, in the order of the table."""
PCA_NAMES = {"uncentred": "uncentred", "centred": "centred", "background-out": "background out"}


@dataclass(frozen=True)
class Row:
    """One row, and what it is measured with.

    Attributes:
        name: as in the table.
        settings: one for each draw; a row that draws nothing has one. None is plain.
        of: the row that this one repeats with shuffled boxes; such a row serves the quantities, and is in no table.
        rival: the further vectors of each photo that it is scored with, or `HI_RES`; without perturbation.
        combine: how their scores become the photo's. Both ways are shown, for neither has a parameter that would have
            to be chosen; object embeddings (OEs) are added to the photo's own score, as in Table A.
    """

    name: str
    settings: tuple[Perturbation | None, ...]
    of: str = ""
    rival: Rival | None = None
    combine: Combine = "max"

    @property
    def views(self) -> tuple[str, ...]:
        """The kinds of views that count."""
        return () if self.rival is None or self.rival == HI_RES else ("whole", VIEWS[self.rival])

    @property
    def is_control(self) -> bool:
        """Whether its boxes or its subspace are drawn at random, so that nobody would index with it."""
        setting = self.settings[0]
        return setting is not None and (setting.boxes != "own" or setting.operator == "random")


def proof_rows(paper: Perturbation, chosen: Perturbation, draws: int, rivals: Sequence[Rival] = RIVALS) -> list[Row]:
    """All rows, in the order of the table.

    A row is named after the one switch in which it differs from `chosen`. Where `chosen` is itself centred or keeps the
    norm, the row without that takes its place ("uncentred", "norm free"). Scaled queries of kept norm would be plain,
    so there the row is scaled as much as the one with one component.

    Args:
        paper: the method as the paper describes it.
        chosen: the setting that was chosen on other photos; its boxes are the photos' own.
        draws: seeds of every row that draws something.
        rivals: those to measure.
    """
    change = dataclasses.replace
    norm = change(chosen, norm="keep" if chosen.norm == "free" else "free")
    one = change(paper, min_components=1)
    longer = chosen if chosen.norm == "free" else one
    rows = [
        Row(PLAIN, (None,)),
        Row(PAPER, (paper,)),
        *([] if one in (paper, chosen) else [Row(ONE_COMPONENT, (one,))]),
        Row(CHOSEN, (chosen,)),
        *(Row(PCA_NAMES[pca], (change(chosen, pca=pca),)) for pca in PCA_NAMES if pca != chosen.pca),
        Row(NORM if norm.norm == "keep" else FREE, (norm,)),
        Row("scaled", (change(longer, operator="scaled"),)),
        Row(RANDOM, _drawn(change(chosen, operator="random"), draws)),
        Row(SHUFFLED, _drawn(change(chosen, boxes="shuffled"), draws), CHOSEN),
        Row(ELSEWHERE, _drawn(change(chosen, boxes="elsewhere"), draws)),
        Row(ADDED, (change(chosen, operator="orthogonal"),)),
        Row(WORDED, (change(chosen, operator="complement"),)),
        *(row for kind in RIVALS if kind in rivals for row in _rival(kind)),
    ]
    partners = [partner for row in rows if (partner := _partner(row, draws)) is not None]
    return [*rows, *partners]


def shown(rows: Iterable[Row]) -> list[Row]:
    """The rows of the table, without those that serve the quantities alone."""
    return [row for row in rows if not row.of or row.name == SHUFFLED]


def partner_of(row: str) -> str:
    """The name of the row with the same setting and shuffled boxes."""
    return SHUFFLED if row == CHOSEN else f"{row}, {SHUFFLED}"


def settings_of(rows: Sequence[Row]) -> tuple[Settings, dict[str, list[str]]]:
    """The embeddings that the rows need, each distinct setting once, and the embeddings of each row, by their names."""
    names: dict[Perturbation | None, str] = {}
    of_row: dict[str, list[str]] = {}
    for row in rows:
        for draw, setting in enumerate(row.settings, 1):
            names.setdefault(setting, row.name if len(row.settings) == 1 else f"{row.name}, draw {draw}")
        of_row[row.name] = [names[setting] for setting in row.settings]
    return {name: setting for setting, name in names.items()}, of_row


def _drawn(setting: Perturbation, draws: int) -> tuple[Perturbation, ...]:
    return tuple(dataclasses.replace(setting, seed=setting.seed + draw) for draw in range(draws))


def _rival(kind: Rival) -> list[Row]:
    if kind == HI_RES:
        return [Row(kind, (None,), rival=kind)]
    if kind == "objects":
        return [Row(OES, (None,), rival=kind, combine="sum")]
    return [Row(kind, (None,), rival=kind), Row(f"{kind}, added", (None,), rival=kind, combine="sum")]


def _partner(row: Row, draws: int) -> Row | None:
    """`row` with shuffled boxes, for rows whose own boxes and subspaces matter."""
    setting = row.settings[0]
    if (
        row.name == CHOSEN
        or row.of
        or setting is None
        or row.is_control
        or setting.operator in ("scaled", "complement")
    ):
        return None
    return Row(partner_of(row.name), _drawn(dataclasses.replace(setting, boxes="shuffled"), draws), row.name)
