from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.reproduction.proof.page import write_page
from pipeline.reproduction.proof.rows import CHOSEN, SHUFFLED
from tests.reproduction.proof.outcomes import made_up_proof


@pytest.mark.slow
def test_the_page_of_several_encoders_and_its_files(tmp_path: Path) -> None:
    proofs = [made_up_proof({CHOSEN: 20, SHUFFLED: 14}, encoder=name) for name in ("coca", "blip2")]
    text = write_page(tmp_path, proofs, "Made by hand.", "Chosen elsewhere.", samples=100, seed=0)
    assert (tmp_path / "proof.md").read_text() == text
    assert "Made by hand." in text
    assert "averaged over 2 draws, query by query. Chosen elsewhere." in text
    assert "| coca | +25.00 (" in text
    assert "## blip2 (miniature)\n\n80 photos, 160 captions (series 3, series 4)." in text
    assert "![Gain of every row by size, coca](coca/proof/gain_by_size.svg)" in text
    assert "Runtime: 3 s in this run" in text
    for name in ("coca", "blip2"):
        folder = tmp_path / name / "proof"
        assert {path.name for path in folder.glob("gain_by_size.*")} == {"gain_by_size.svg", "gain_by_size.png"}
        tables = {path.stem for path in (folder / "tables").glob("*.csv")}
        assert tables == {"proof", "quantities", "costs"}
        with (folder / "tables" / "quantities.csv").open() as file:
            first = next(iter(csv.DictReader(file)))
        assert (first["photos"], first["metric"], float(first["difference"])) == ("pooled", "R@1", 0.125)


@pytest.mark.slow
def test_a_single_set_of_photos_is_not_pooled(tmp_path: Path) -> None:
    proof = made_up_proof({CHOSEN: 20})
    one = replace(proof, series={"series 3": proof.series["series 3"]})
    text = write_page(tmp_path, [one], "", "", samples=100, seed=0)
    assert "40 photos, 80 captions (series 3)." in text
    assert "pooled" not in text
