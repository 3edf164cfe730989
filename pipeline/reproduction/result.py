"""The result of the reproduction protocol for one encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.benchmarks.encoder_cost import EncoderCost
from pipeline.experiments.variants import Variant
from pipeline.method.settings import Perturbation
from pipeline.reproduction.figure_b import FigureB
from pipeline.retrieval.ranks import Ranks


@dataclass(frozen=True)
class Result:
    """The outcome of every query under every setting, and Table B.

    Attributes:
        chosen: the perturbation of Table A.
        grids: the scales of Table C, and of further grids like it.
        switches: the names of the settings that differ in one switch.
        variants: the embeddings of each setting.
        ranks: the outcome of its queries.
        cost: the figures of Table B.
        matched: the outcome of its queries re-ranked by image-text matching, if the encoder has that.
        candidates: number of best answers that were re-ranked.
        figure_b: the effect of emphasis on captions, if the encoder writes them and the photos are scenes.
    """

    chosen: Perturbation
    grids: tuple[tuple[float, ...], ...]
    switches: list[str]
    variants: Mapping[str, Variant]
    ranks: Mapping[str, Ranks]
    cost: EncoderCost
    matched: Mapping[str, Ranks] = field(default_factory=dict)
    candidates: int = 0
    figure_b: FigureB | None = None
