"""The tables of made-up outcomes, so that every figure is known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pipeline.experiments import paper
from pipeline.experiments.variants import (
    CHOSEN,
    CHOSEN_PLAIN_ITM,
    DETECTED,
    OES,
    ORTHOGONAL,
    PLAIN,
    PLAIN_ITM,
    grid,
    grid_name,
    switches,
)
from pipeline.method.settings import Perturbation
from pipeline.reproduction.result_tables import (
    METRICS,
    SettingMetrics,
    grid_note,
    grid_table,
    switch_table,
    table_a,
    table_a_matched,
)
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.ranks import Ranks

IMAGES = 40


def ranks(hits: int) -> Ranks:
    """Forty images with one caption each, ten in the smallest bin; the captions of the first `hits` are found."""
    outcome = np.where(np.arange(IMAGES) < hits, 1, 3)
    bins = np.where(np.arange(IMAGES) < 10, 0, 5)
    return Ranks(outcome, outcome.copy(), np.arange(IMAGES), bins, tuple(f"{n}.jpg" for n in range(IMAGES)))


@pytest.fixture(scope="module")
def metrics() -> SettingMetrics:
    settings = {PLAIN: 5, CHOSEN: 20, DETECTED: 15, OES: 0, ORTHOGONAL: 4}
    settings |= dict.fromkeys(grid(paper.SCALES), 5) | {grid_name("area", 4, 0.99): 30}
    return SettingMetrics.of({name: ranks(hits) for name, hits in settings.items()}, samples=200, seed=0)


def test_table_a_shows_our_figures_beside_the_papers(metrics: SettingMetrics) -> None:
    headers, rows = table_a(metrics, (PLAIN, CHOSEN, OES))
    cell = {(row[0], row[1]): dict(zip(headers, row, strict=True)) for row in rows}
    assert len(rows) == 3 * len(METRICS)
    assert cell[PLAIN, "10%"]["here"] == "50.00"
    assert cell[PLAIN, "10%"]["n"] == "10"
    assert cell[PLAIN, "R@1"]["here"] == "12.50"
    assert cell[PLAIN, "R@1"]["over plain"] == ""
    assert cell[CHOSEN, "R@1"]["over plain"] == "+37.50"
    assert cell[CHOSEN, "R@1"]["p"] == f"{2 / 2**15:.3g}"
    assert (cell[CHOSEN, "10%"]["paper"], cell[CHOSEN, "10%"]["here - paper"]) == ("84.00", "+16.00")
    assert cell[OES, "R@1"]["here"] == "0.00"
    assert cell[OES, "R@5"]["here"] == "100.00"
    low, high = map(float, cell[CHOSEN, "R@1"]["95 % interval"].split(" to "))
    assert 20 < low < 37.5 < high < 60
    assert cell[CHOSEN, "R@1"]["shown"] == "yes"
    assert (cell[PLAIN, "R@1"]["shown"], cell[PLAIN, "R@1"]["p"], cell[PLAIN, "R@1"]["Holm"]) == ("", "", "")
    corrected = holm([metrics.against_plain[row][name].p for row in (CHOSEN, OES) for name in METRICS])
    assert [row[headers.index("Holm")] for row in rows[len(METRICS) :]] == [f"{p:.3g}" for p in corrected if p]
    assert float(cell[CHOSEN, "R@1"]["Holm"]) > float(cell[CHOSEN, "R@1"]["p"])


def test_the_papers_figures_stand_beside_re_ranked_ones_too() -> None:
    matched = {PLAIN_ITM: ranks(20), CHOSEN_PLAIN_ITM: ranks(30), "other": ranks(1)}
    headers, rows = table_a_matched(matched, samples=100, seed=0)
    assert [row[0] for row in rows[:: len(METRICS)]] == [PLAIN_ITM, CHOSEN_PLAIN_ITM]
    cell = {(row[0], row[1]): dict(zip(headers, row, strict=True)) for row in rows}
    assert cell[PLAIN_ITM, "R@1"]["here"] == "50.00"
    assert cell[PLAIN_ITM, "R@1"]["paper"] == "89.76"
    assert cell[PLAIN_ITM, "R@1"][f"over {PLAIN_ITM}"] == ""
    assert cell[CHOSEN_PLAIN_ITM, "R@1"][f"over {PLAIN_ITM}"] == "+25.00"
    assert cell[CHOSEN_PLAIN_ITM, "R@1"]["here - paper"] == "-14.82"


def test_a_grid_shows_the_papers_figures_in_brackets_at_its_scales(metrics: SettingMetrics) -> None:
    headers, rows = grid_table(metrics, "R@1", "C", paper.SCALES)
    assert headers == ["R@1: scale", "2", "4", "6", "8", "10"]
    assert rows[0] == ["area", "12.50 (88.73)", "75.00 (88.65)", "12.50 (88.67)", "12.50 (88.67)", "12.50 (88.77)"]
    _, rows = grid_table(metrics, "10%", "D", paper.SCALES)
    assert rows[4][3] == "50.00 (85.33)"
    note = grid_note(metrics, "R@1", "C", paper.SCALES)
    assert "best 75.00 at area, scale 4, threshold 0.99: +62.50 over plain" in note
    assert "above plain in 1 of 25; n = 40" in note
    assert f"; shown), p = {2 / 2**25:.3g}, corrected for 25 (Holm) {50 / 2**25:.3g};" in note


def test_switches_are_compared_with_the_chosen_setting(metrics: SettingMetrics) -> None:
    names = list(switches(Perturbation.paper()))
    outcomes = {CHOSEN: ranks(20)} | {name: ranks(20) for name in names} | {names[0]: ranks(8)}
    values = dict(metrics.values) | {
        name: SettingMetrics.of({PLAIN: outcome}, samples=200, seed=0).values[PLAIN]
        for name, outcome in outcomes.items()
    }
    headers, rows = switch_table(SettingMetrics(values, {}), outcomes, names, 200, 0)
    shown, corrected = headers.index("shown"), headers.index("Holm")
    assert re.fullmatch(r"not shown \(\d+\.\d\d\)", rows[0][shown])
    assert [row[shown] for row in rows[1:3]] == ["yes", "yes"]
    assert rows[1][3] == "-30.00"
    assert {row[shown] for row in rows[3:]} == {"not shown"}
    p_values = [float(row[corrected - 1]) for row in rows]
    assert p_values[1] == pytest.approx(2 / 2**12, abs=1e-6)
    assert [float(row[corrected]) for row in rows] == pytest.approx(holm(p_values), rel=0.01)
