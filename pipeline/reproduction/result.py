"""What the protocol found out about one encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.benchmarks.encoder_cost import EncoderCost
from pipeline.perturbation import Perturbation
from pipeline.reproduction.measuring import Variant
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
    """

    chosen: Perturbation
    grids: tuple[tuple[float, ...], ...]
    switches: list[str]
    variants: Mapping[str, Variant]
    ranks: Mapping[str, Ranks]
    cost: EncoderCost
