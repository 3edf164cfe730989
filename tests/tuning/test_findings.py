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


def controlled_findings(may_lose: float = 0.0) -> tuple[Findings, Space]:
    """Plain at 0.5; settings of growing own and of growing shuffled figures, of which the second loses."""
    space = Space(Perturbation(), {"scale": [1.0, 2.0, 3.0], "combine": ["sum", "mean"]})
    shares = [(0.55, 0.5), (0.45, 0.1), (0.6, 0.4), (0.6, 0.6), (0.6, 0.6), (0.7, 0.7)]
    trials = [
        Trial(values, space.setting(values), ranks(own), (ranks(other), ranks(other - 0.1)))
        for values, (own, other) in zip(space.grid(), shares, strict=True)
    ]
    objective = Objective.parse("own-minus-shuffled", 2, may_lose)
    return Findings.of(trials, ranks(0.5), objective, samples=100, seed=0), space


def test_own_minus_shuffled_is_paired_and_its_best_does_not_lose_against_plain() -> None:
    findings, _ = controlled_findings()
    name = "own-minus-shuffled R@1"
    assert findings.metric == name
    for finding, (own, other) in zip(findings.all, [(0.55, 0.5), (0.45, 0.1), (0.6, 0.4)], strict=False):
        figures = [metrics_of(ranks(share))["R@1"] for share in (own, other, other - 0.1)]
        assert finding.metrics[name] == pytest.approx(figures[0] - (figures[1] + figures[2]) / 2)
        assert finding.target.difference == finding.metrics[name]
        assert finding.interval == finding.target.interval
        assert finding.gain.difference == pytest.approx(figures[0] - findings.plain["R@1"])
    loser = findings.all[1]
    assert loser.metrics[name] == max(finding.metrics[name] for finding in findings.all)
    assert loser.loss > 0
    assert findings.best is findings.all[2]
    assert findings.corrected == holm([finding.target.p for finding in findings.all])
    summary = findings.summary()
    assert f"{name}, own minus the mean of 2 draws of other photos' boxes: best +" in summary
    assert "own minus plain, R@1: +" in summary
    assert "1 of 6 settings are below plain in R@1 and cannot be the best" in summary


def test_a_loss_can_be_allowed_and_where_all_lose_that_is_said() -> None:
    findings, _ = controlled_findings(may_lose=0.2)
    assert findings.best is findings.all[1]
    assert "more than 20 points" in findings.summary()
    every = replace(findings, all=tuple(replace(finding, loss=0.1) for finding in findings.all))
    assert every.best is every.all[1]
    assert "all are, so the best is none that should be used" in every.summary()


def test_the_report_of_own_minus_shuffled_shows_both(tmp_path: Path) -> None:
    findings, space = controlled_findings()
    cost = Cost(40, 40, 0, 1_000_000, ServerStats(), 12.0)
    shuffled = ranks(0.5, seed=7), ranks(0.4, seed=7)
    confirmation = Confirmation(ranks(0.4, seed=7), ranks(0.6, seed=7), shuffled)
    text = write_report(tmp_path, "a title", findings, space, cost, confirmation, samples=100)
    header = next(line for line in text.splitlines() if line.startswith("| setting |"))
    assert header.startswith(
        "| setting | own-minus-shuffled R@1 | 95 % interval | shown | p | Holm | own minus plain, R@1"
    )
    lines = text[text.index(header) :].splitlines()
    assert lines[2].startswith("| plain |")
    assert " yes | " in lines[3]
    assert lines[8].startswith("| scale 1.0, combine mean | ")  # the one that loses comes last
    with (tmp_path / "confirmed.csv").open() as file:
        rows = {(row[""], row["metric"]): row for row in csv.DictReader(file)}
    own = rows["best over best with shuffled boxes", "R@1"]
    figures = [metrics_of(one)["R@1"] for one in (*shuffled, confirmation.best)]
    assert float(own["before"]) == pytest.approx(100 * (figures[0] + figures[1]) / 2, abs=0.01)
    assert float(own["after"]) == pytest.approx(100 * figures[2], abs=0.01)
    assert ("best over plain", "R@1") in rows
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table["own-minus-shuffled R@1"].to_pylist() == [finding.metrics[findings.metric] for finding in findings.all]
    assert [loss > 0 for loss in table["loss"].to_pylist()] == [False, True, False, False, False, False]
    (heading,) = [line for line in text.splitlines() if line.startswith("## own-minus-shuffled R@1 by")]
    assert heading == "## own-minus-shuffled R@1 by scale and combine"


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
