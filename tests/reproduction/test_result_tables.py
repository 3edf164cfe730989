"""The tables of made-up outcomes, so that every figure is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.experiments import paper
from pipeline.experiments.variants import CHOSEN, DETECTED, OES, ORTHOGONAL, PLAIN, grid, grid_name, switches
from pipeline.method.settings import Perturbation
from pipeline.reproduction.result_tables import METRICS, SettingMetrics, grid_note, grid_table, switch_table, table_a
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


def test_a_grid_shows_the_papers_figures_in_brackets_at_its_scales(metrics: SettingMetrics) -> None:
    headers, rows = grid_table(metrics, "R@1", "C", paper.SCALES)
    assert headers == ["R@1: scale", "2", "4", "6", "8", "10"]
    assert rows[0] == ["area", "12.50 (88.73)", "75.00 (88.65)", "12.50 (88.67)", "12.50 (88.67)", "12.50 (88.77)"]
    _, rows = grid_table(metrics, "10%", "D", paper.SCALES)
    assert rows[4][3] == "50.00 (85.33)"
    note = grid_note(metrics, "R@1", "C", paper.SCALES)
    assert "best 75.00 at area, scale 4, threshold 0.99: +62.50 over plain" in note
    assert "above plain in 1 of 25; n = 40" in note


def test_switches_are_compared_with_the_chosen_setting(metrics: SettingMetrics) -> None:
    names = list(switches(Perturbation.paper()))
    outcomes = {CHOSEN: ranks(20)} | {name: ranks(20) for name in names} | {names[0]: ranks(8)}
    values = dict(metrics.values) | {
        name: SettingMetrics.of({PLAIN: outcome}, samples=200, seed=0).values[PLAIN]
        for name, outcome in outcomes.items()
    }
    headers, rows = switch_table(SettingMetrics(values, {}), outcomes, names, 200, 0)
    assert headers[-1] == "moves it"
    assert [row[-1] for row in rows[:3]] == ["not shown", "yes", "yes"]
    assert rows[1][3] == "-30.00"
    assert {row[-1] for row in rows[3:]} == {"not shown"}
