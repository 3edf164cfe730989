"""What the protocol found out about one encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.benchmarks.encoder_cost import EncoderCost
from pipeline.experiments.measuring import Variant
from pipeline.method.settings import Perturbation
from pipeline.reproduction.figure_b import FigureB
from pipeline.retrieval.ranks import Ranks


@dataclass(frozen=True)
class Result:
    """The outcome of every query under every setting, and Table B.

    Attributes:
        chosen: the perturbation of Table A.
        grids: the scales of Table C, and of further grids like it.
        switches: the names of the settings with one switch turned.
        variants: where each setting's embeddings are.
        ranks: the outcome of its queries.
        cost: of Table B.
        matched: the outcome of its queries re-ranked by image-text matching, where the encoder has that.
        candidates: how many of the best were re-ranked.
        figure_b: what emphasis does to captions, where the encoder writes and the photos are scenes.
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
