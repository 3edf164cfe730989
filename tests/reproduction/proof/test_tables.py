"""The tables of made-up outcomes."""

from __future__ import annotations

import pytest

from pipeline.experiments.variants import OES, PLAIN
from pipeline.reproduction.proof.page import POOLED, series_contrasts
from pipeline.reproduction.proof.quantities import quantities
from pipeline.reproduction.proof.rows import CHOSEN, PAPER, SHUFFLED, shown
from pipeline.reproduction.proof.tables import (
    COLUMNS,
    differences_table,
    figures_table,
    quantities_table,
)
from pipeline.retrieval.contrasts import Contrasts
from tests.reproduction.proof.outcomes import IMAGES, made_up_proof

PROOF = made_up_proof({PLAIN: 4, CHOSEN: 20, PAPER: 18, SHUFFLED: 13})
ROWS = shown(PROOF.rows)


@pytest.fixture(scope="module")
def contrasts() -> dict[str, Contrasts]:
    return series_contrasts(PROOF, samples=200, seed=0)


def cells(table: tuple[list[str], list[list[str]]]) -> dict[str, dict[str, str]]:
    headers, rows = table
    return {row[0]: dict(zip(headers, row, strict=True)) for row in rows}


def test_figures_and_costs(contrasts: dict[str, Contrasts]) -> None:
    cell = cells(figures_table(contrasts[POOLED], ROWS, PROOF.costs))
    assert [*cell] == [*(row.name for row in ROWS), "captions"]
    assert cell[PLAIN]["R@1"] == f"{400 / IMAGES:.2f}"
    assert cell[CHOSEN]["R@1"] == f"{2000 / IMAGES:.2f}"
    assert cell[SHUFFLED]["R@1"] == f"{1400 / IMAGES:.2f}"  # draws that find 13 and 15 photos
    assert cell[CHOSEN]["R@5"] == "100.00"
    assert cell[PLAIN]["R@1 < 10 %"] == "40.00"
    assert cell[PLAIN]["R@1 < 1 %"] == "100.00"
    assert (cell["captions"]["R@1"], cell["captions"]["R@1 < 10 %"], cell["captions"]["R@1 < 1 %"]) == (
        "160",
        "40",
        "4",
    )
    assert (cell[PLAIN]["extra ms"], cell[CHOSEN]["extra ms"], cell[SHUFFLED]["extra ms"]) == ("", "+0.50", "-")
    assert (cell[OES]["vectors"], cell[OES]["tower passes"], cell[OES]["bytes per photo"]) == ("1", "1", "128")


def test_differences_to_plain_are_corrected_for_all_rows(contrasts: dict[str, Contrasts]) -> None:
    cell = cells(differences_table(contrasts[POOLED], ROWS))
    assert PLAIN not in cell
    assert cell[CHOSEN]["R@1"].startswith("+40.00 (+")
    assert cell[CHOSEN]["shown, R@1"] == "yes"
    p = contrasts[POOLED].contrast(PLAIN, CHOSEN, "R@1").p
    assert float(cell[CHOSEN]["Holm, R@1"]) == pytest.approx((len(ROWS) - 1) * p, rel=1e-2)
    assert cell[CHOSEN]["R@5"] == "+0.00 (+0.00 to +0.00)"
    assert {f"Holm, {COLUMNS[metric]}" for metric in ("R@1", "10%")} <= {*cell[CHOSEN]}


def test_quantities_are_told_for_all_photos_and_each_series(contrasts: dict[str, Contrasts]) -> None:
    headers, rows = quantities_table(contrasts, quantities(PROOF.rows))
    assert headers == ["quantity", "setting", "metric", POOLED, "shown", "Holm", "series 3", "series 4"]
    first = dict(zip(headers, rows[0], strict=True))
    assert (first["quantity"], first["setting"], first["metric"]) == ("own minus shuffled boxes", CHOSEN, "R@1")
    assert first[POOLED].startswith("+15.00 (")
    assert first["series 3"].startswith("+15.00 (")
    assert first["shown"] == "yes"
    assert len(rows) == 2 * len(quantities(PROOF.rows))
    one = {"photos": contrasts["series 3"]}
    assert quantities_table(one, quantities(PROOF.rows))[0][-3:] == ["photos", "shown", "Holm"]
