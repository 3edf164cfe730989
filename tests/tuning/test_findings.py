"""The findings of a search: figures, gains, the best setting, tables, heat maps and the report."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.method.settings import Perturbation
from pipeline.retrieval.metrics import ALL_METRICS, metrics_of
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.ranks import Ranks, size_bins
from pipeline.tuning.findings import Findings, Trial
from pipeline.tuning.grid_tables import grids, shown_metrics
from pipeline.tuning.objective import Objective
from pipeline.tuning.space import Space, Tables
from pipeline.tuning.trial_server import ServerStats
from pipeline.tuning.tuning_report import Confirmation, Cost, write_report

IMAGES = 40
AREAS = np.linspace(0.01, 0.99, IMAGES)
TINY = Tables((1.0, 2.0), (0.8, 0.9), 0.9, 2.0)


def ranks(right: float, small: float | None = None, seed: int = 0) -> Ranks:
    """Two captions per image; a share of them at rank 1, another where the object is small."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(IMAGES), 2)
    share = np.where(AREAS[owners] < 0.1, right if small is None else small, right)
    text = np.where(generator.random(2 * IMAGES) < share, 1, 4)
    image = np.where(generator.random(IMAGES) < right, 1, 7)
    return Ranks(text, image, owners, size_bins(AREAS, IMAGES), tuple(map(str, range(IMAGES))))


def search_findings(metric: str = "R@1") -> tuple[Findings, Space]:
    space = Space(Perturbation(), {}, TINY)
    settings = [
        Trial(chosen, space.setting(chosen), ranks(0.4 + 0.02 * number)) for number, chosen in enumerate(space.grid())
    ]
    return Findings.of(settings, ranks(0.4), Objective(metric), samples=100, seed=0), space


def test_metrics_have_names() -> None:
    figures = metrics_of(ranks(0.5, small=1.0))
    assert set(figures) == set(ALL_METRICS)
    assert figures["10%"] == 1
    assert figures["R@5"] == 1
    assert figures["i2t R@5"] == figures["i2t R@1"] < 1


def test_the_best_has_the_highest_metric() -> None:
    for metric in ("R@1", "mR@1", "i2t R@1"):
        findings, _ = search_findings(metric)
        best = max(finding.metrics[metric] for finding in findings.all)
        assert findings.best.metrics[metric] == best
        assert findings.best.gain.difference == pytest.approx(best - findings.plain[metric])
        assert f"{metric}: plain {100 * findings.plain[metric]:.2f}" in findings.summary()
        assert "not corrected for having looked at 15" in findings.summary()
        corrected = holm([finding.gain.p for finding in findings.all])
        assert findings.corrected == corrected
        assert f"corrected for 15 (Holm) {corrected[findings.all.index(findings.best)]:.3g};" in findings.summary()
    one = findings.all[0]
    nothing = replace(
        findings, all=(replace(one, metrics={**one.metrics, "R@1": float("nan")}), *findings.all[1:]), metric="R@1"
    )
    assert nothing.best is not nothing.all[0]


def test_tables_c_and_d_in_order() -> None:
    findings, space = search_findings()
    (c, by_scale), (d, by_threshold) = grids(findings, space)
    assert (c, d) == ("table_c", "table_d")
    assert list(by_scale.across) == [1.0, 2.0]
    assert list(by_threshold.across) == [0.8, 0.9]
    assert list(by_scale.down) == ["area", "1-area", "area-0.5", "0.5-area", "constant"]
    assert by_scale.cells["area", 2.0] is by_threshold.cells["area", 0.9]  # the shared column
    headers, rows = by_scale.text()
    assert headers == ["weight \\ scale", "1.0", "2.0"]
    assert sum(cell.endswith("*") for row in rows for cell in row) == 1
    assert by_scale.title == "R@1 by weight and scale, threshold 0.9"


def test_other_fields_make_a_table_for_every_pair() -> None:
    space = Space(
        Perturbation(), {"combine": ["sum", "mean"], "scale": [1, 2], "sites": ["all", "0"], "weight": ["area"]}
    )
    settings = [
        Trial(values, space.setting(values), ranks(0.4, seed=number)) for number, values in enumerate(space.grid())
    ]
    findings = Findings.of(settings, ranks(0.4), Objective("R@1"), samples=100, seed=0)
    names = [name for name, _ in grids(findings, space)]
    assert names == ["combine_by_scale", "combine_by_sites", "scale_by_sites"]  # the weight has one value only
    rows = findings.rows()
    assert rows.num_rows == 8
    assert set(rows["sites"].to_pylist()) == {"all", "0"}


def test_the_report_and_its_files(tmp_path: Path) -> None:
    findings, space = search_findings("10%")
    cost = Cost(40, 40, 0, 1_000_000, ServerStats(passes=1, embedded=16), 12.0)
    confirmation = Confirmation(
        ranks(0.4, seed=5), ranks(0.6, seed=6), (), (ranks(0.5, seed=7), ranks(0.7, seed=8)), 16
    )
    printed = write_report(tmp_path, "a title", findings, space, cost, confirmation, samples=100)
    text = (tmp_path / "report.md").read_text()
    assert text in printed
    assert "# a title" in text
    assert "Backbone: 40 photo passes in this run for 40 photos" in text
    assert "## Table C: 10% by weight and scale, threshold 0.9" in text
    assert "best, 16 best re-ranked by ITM, over plain re-ranked" in text
    names = [f"table_{letter}_{metric}" for letter in "cd" for metric in ("10", "R1", "mR1")]
    assert {path.stem for path in tmp_path.glob("table_*.png")} == set(names)
    assert {path.stem for path in tmp_path.glob("table_*.csv")} == set(names)
    with (tmp_path / "confirmed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["Holm"]) for row in rows] == pytest.approx(holm([float(row["p"]) for row in rows]), rel=0.01)
    assert "Holm: corrected for all 15 comparisons of the table." in text
    assert "Holm: corrected for all 15 settings." in text
    assert float(rows[1]["before"]) == pytest.approx(100 * metrics_of(confirmation.plain)["R@1"], abs=0.01)
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table.num_rows == 15
    assert {"weight", "scale", "threshold", "sites", "R@1", "i2t mR@10", "low", "gain", "gain_low", "p"} <= {
        *table.column_names
    }
    assert table["p_holm"].to_pylist() == findings.corrected
    assert table["detectable"].to_pylist() == [finding.gain.detectable for finding in findings.all]
    assert shown_metrics("10%") == ["10%", "R@1", "mR@1"]
    assert "Confirmed" not in write_report(tmp_path / "other", "b", findings, space, cost, None, samples=100)
