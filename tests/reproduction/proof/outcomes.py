"""Made-up outcomes, so that every figure is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.cost import Costs, RowCost
from pipeline.reproduction.proof.measuring import Proof, SeriesOutcomes
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, Row, proof_rows, shown
from pipeline.retrieval.ranks import Ranks, size_bins

IMAGES, CAPTIONS = 40, 2
AREAS = {f"{number:03d}.jpg": area for number, area in enumerate(np.linspace(0.005, 0.4, IMAGES).tolist())}


def ranks(hits: int) -> Ranks:
    """Forty photos with two captions each; both captions of the first `hits` photos are found."""
    owners = np.repeat(np.arange(IMAGES), CAPTIONS)
    outcome = np.where(owners < hits, 1, 3)
    image_ranks = np.where(np.arange(IMAGES) < hits, 1, 3)
    return Ranks(outcome, image_ranks, owners, size_bins(list(AREAS.values()), IMAGES), tuple(AREAS))


def made_up_proof(hits: Mapping[str, int], draws: int = 2, encoder: str = "coca") -> Proof:
    """Two series in which each row finds the photos of `hits` (10 unless named); the second draw finds two more."""
    rows = proof_rows(Perturbation.paper(), Perturbation.one_component(), draws)

    def of(row: Row) -> tuple[Ranks, ...]:
        return tuple(ranks(hits.get(row.name, 10) + 2 * draw) for draw in range(len(row.settings)))

    outcomes = SeriesOutcomes({row.name: of(row) for row in rows}, AREAS, IMAGES, 1.5)
    cost = {row.name: RowCost(1, 1, None if row.is_control else 0.5, 128) for row in shown(rows)}
    costs = Costs(2.0, cost, "cpu", 4, 2.5)
    return Proof(
        encoder, None, Perturbation.paper(), Perturbation.one_component(), draws, tuple(rows),
        {"series 3": outcomes, "series 4": outcomes}, costs, {"torch": "1"},
    )  # fmt: skip


__all__ = ["AREAS", "CAPTIONS", "CHOSEN", "IMAGES", "PAPER", "made_up_proof", "ranks"]
