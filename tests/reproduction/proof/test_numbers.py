from __future__ import annotations

from pipeline.experiments.variants import PLAIN
from pipeline.reproduction.proof.figure import SIZES
from pipeline.reproduction.proof.numbers import cost_numbers, figure_numbers, quantity_numbers
from pipeline.reproduction.proof.page import series_contrasts
from pipeline.reproduction.proof.quantities import quantities
from pipeline.reproduction.proof.rows import CHOSEN, SHUFFLED, shown
from pipeline.reproduction.proof.tables import COLUMNS
from tests.reproduction.proof.outcomes import IMAGES, made_up_proof

PROOF = made_up_proof({PLAIN: 4, CHOSEN: 20, SHUFFLED: 13})
CONTRASTS = series_contrasts(PROOF, samples=200, seed=0)


def test_every_figure_of_every_row_and_series() -> None:
    headers, *lines = figure_numbers(CONTRASTS, shown(PROOF.rows))
    figures = {tuple(line[:3]): dict(zip(headers, line, strict=True)) for line in lines}
    chosen = figures["series 4", CHOSEN, "R@1"]
    change = CONTRASTS["series 4"].contrast(PLAIN, CHOSEN, "R@1")
    assert (chosen["captions"], chosen["value"]) == (2 * IMAGES, 0.5)
    assert (chosen["difference_low"], chosen["difference_high"]) == change.interval
    assert (chosen["difference"], chosen["p"]) == (change.difference, change.p)
    assert figures["pooled", PLAIN, "R@1"]["difference"] is None
    assert figures["pooled", CHOSEN, "bin 1"]["value"] == 1
    assert figures["pooled", CHOSEN, "bin 9"]["value"] is None
    assert len(lines) == len(figures) == 3 * len(shown(PROOF.rows)) * len({*COLUMNS, *SIZES})


def test_quantities_and_costs() -> None:
    headers, first, *_ = quantity_numbers(CONTRASTS, quantities(PROOF.rows))
    line = dict(zip(headers, first, strict=True))
    assert (line["photos"], line["row"], line["metric"]) == ("pooled", CHOSEN, "R@1")
    assert line["difference"] == CONTRASTS["pooled"].contrast(SHUFFLED, CHOSEN, "R@1").difference
    headers, *lines = cost_numbers(PROOF.costs)
    assert headers == ["row", "vectors", "tower_passes", "extra_ms", "bytes"]
    assert [CHOSEN, 1, 1, 0.5, 128] in lines
