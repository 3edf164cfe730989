from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.experiments.variants import PLAIN
from pipeline.reproduction.proof.figure import plot_gains
from pipeline.reproduction.proof.page import series_contrasts
from pipeline.reproduction.proof.rows import CHOSEN, shown
from tests.reproduction.proof.outcomes import made_up_proof


@pytest.mark.slow
def test_one_line_per_row_and_the_captions_of_each_size(tmp_path: Path) -> None:
    proof = made_up_proof({PLAIN: 4, CHOSEN: 20})
    contrasts = next(iter(series_contrasts(proof, samples=100, seed=0).values()))
    plot_gains(contrasts, shown(proof.rows), tmp_path / "gain.svg", "coca")
    text = (tmp_path / "gain.svg").read_text()
    assert all(f">{row.name}<" in text for row in shown(proof.rows))
    assert ">1-3 %<" in text
    assert "Recall@1 minus plain, points" in text
    plot_gains(contrasts, shown(proof.rows), tmp_path / "again.svg", "coca")
    assert (tmp_path / "again.svg").read_text() == text
