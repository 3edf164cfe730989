"""The table of proof from photos to outcomes, on Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.experiments.material import draw_scenes
from pipeline.method.settings import Perturbation
from pipeline.reproduction.proof.measuring import ProofExperiment
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, SHUFFLED

CHOICE = Perturbation.one_component(0.5, 0.99)


def test_the_plan_counts_rows_and_embeddings() -> None:
    experiment = ProofExperiment("out", "coca", None, Perturbation.paper(0.5, 0.99), CHOICE, draws=2)
    plan = experiment.plan(2)
    # Plain, the paper's, the chosen one, six further switches, two draws of random and elsewhere, and of shuffled boxes
    # for six rows.
    start = (
        "coca (miniature), table of proof: 22 rows, 25 embeddings in one pass over each of 2 sets of photos, the rivals"
    )
    assert plan.startswith(start)


@pytest.mark.usefixtures("ray_cpu")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_series_are_indexed_once_and_other_photos_boxes_give_other_outcomes(tmp_path: Path) -> None:
    materials = {"series 3": draw_scenes(tmp_path, 30, 3)}
    folder = str(tmp_path / "proof")
    # The paper's is the chosen setting here: measured once.
    experiment = ProofExperiment(folder, "coca", None, CHOICE, CHOICE, draws=2, rivals=("regions", "hi-res"))
    proof = experiment.run(materials)
    first = proof.series["series 3"]
    assert first.indexed == 90  # once under all settings, once with regions, once at twice the resolution
    assert proof.remark == "hi-res: 224 pixels in place of 112, with positions interpolated"
    assert {len(draws) for row, draws in first.ranks.items() if SHUFFLED in row} == {2}
    assert first.ranks[PAPER] == first.ranks[CHOSEN]
    assert set(first.areas or {}) == set(first.ranks[CHOSEN][0].image_ids)
    assert not np.array_equal(first.ranks["hi-res"][0].text_ranks, first.ranks["plain"][0].text_ranks)
    own, drawn = first.ranks[CHOSEN][0], first.ranks[SHUFFLED]
    assert not np.array_equal(own.text_ranks, drawn[0].text_ranks)
    assert not np.array_equal(drawn[0].text_ranks, drawn[1].text_ranks)

    again = experiment.run(materials)
    assert [series.indexed for series in again.series.values()] == [0]
    for name, series in again.series.items():
        for row, draws in series.ranks.items():
            before = proof.series[name].ranks[row]
            assert all(np.array_equal(one.text_ranks, two.text_ranks) for one, two in zip(draws, before, strict=True))
