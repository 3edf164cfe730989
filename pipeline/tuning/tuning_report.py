"""The report of a search: all tables in Markdown and as CSV, heat maps, and every trial as Parquet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.reports.difference_text import DIFFERENCE_HEADERS, SHOWN_MEANS, difference_cells
from pipeline.reports.text_table import Table, csv_text, interval_text, markdown, percent, points
from pipeline.retrieval.comparison import compare
from pipeline.retrieval.metrics import KS, pick
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.ranks import Ranks
from pipeline.tuning.findings import Findings, own_minus_shuffled
from pipeline.tuning.grid_tables import grids, shown_metrics
from pipeline.tuning.space import Space, short
from pipeline.tuning.trial_server import ServerStats

_CONFIRMED = ("10%", "R@1", "R@5", "mR@1", "i2t R@1")
"""Metrics of the confirming run."""


@dataclass(frozen=True)
class Confirmation:
    """The outcome of every query on other photos, plain and with the best setting.

    Attributes:
        plain: plain, by contrast.
        best: with the best setting, by contrast.
        shuffled: with the best setting and shuffled boxes, for each draw, if that was searched for.
        matched: both re-ranked by image-text matching, if requested.
        candidates: number of best answers that were re-ranked.
    """

    plain: Ranks
    best: Ranks
    shuffled: tuple[Ranks, ...] = ()
    matched: tuple[Ranks, Ranks] | None = None
    candidates: int = 0


@dataclass(frozen=True)
class Cost:
    """The cost of a search.

    Attributes:
        passed: photos that passed the backbone for the search in this run.
        photos: photos that were searched on.
        failed: photos that could not be indexed.
        bytes: size of their image tokens.
        stats: what the trial server did in this run.
        seconds: duration of this run, everything included.
    """

    passed: int
    photos: int
    failed: int
    bytes: int
    stats: ServerStats
    seconds: float

    def __str__(self) -> str:
        stats = self.stats
        lost = f" ({self.failed:,} more photos could not be indexed)" if self.failed else ""
        return (
            f"Backbone: {self.passed:,} photo passes in this run for {self.photos:,} photos, whatever the number of"
            f" settings{lost}; tokens {self.bytes / 1e6:,.1f} MB. Settings embedded in this run: {stats.embedded} in"
            f" {stats.passes} passes over the tokens ({stats.embedding_seconds:.1f} s, measuring"
            f" {stats.measuring_seconds:.1f} s). In total {self.seconds:.0f} s."
        )


def write_report(
    folder: Path,
    title: str,
    findings: Findings,
    space: Space,
    cost: Cost,
    confirmation: Confirmation | None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> str:
    """Writes everything into `folder` and returns the Markdown.

    Args:
        folder: created if it does not exist.
        title: heading of the report.
        findings: the settings.
        space: what was searched.
        cost: the cost of the search.
        confirmation: the confirming run, if there was one.
        samples: bootstrap resamples of the intervals of the confirmation.
        seed: seed of these resamples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fields = space.names
    best = findings.best
    lines = [f"# {title}", f"**{short(best.setting, fields)}**", findings.summary(), str(cost)]
    for name, heading, table in _write_tables(folder, findings, space):
        lines += [f"## {heading}", markdown(*table), f"![{heading}]({name}.png)"]
    note = f"{SHOWN_MEANS[0].upper()}{SHOWN_MEANS[1:]}. p: sign flips over photos; Holm: corrected for all"
    lines += ["## The best settings", f"{note} {len(findings.all)} settings.", markdown(*_best_table(findings, fields))]
    if confirmation is not None:
        table = _confirmation_table(confirmation, samples, seed)
        _write_csv(folder / "confirmed.csv", table)
        plain = confirmation.plain
        note = (
            f"{len(plain.image_ranks):,} photos, {len(plain.text_ranks):,} captions. Holm: corrected for all"
            f" {len(table[1])} comparisons of the table."
        )
        lines += ["## Confirmed on photos that took no part in the choice", note, markdown(*table)]
    pq.write_table(findings.rows(), folder / "trials.parquet")
    text = "\n\n".join(lines) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    return f"{text}\nreport: {folder}/report.md; every trial: {folder}/trials.parquet"


def _write_tables(folder: Path, findings: Findings, space: Space) -> Iterator[tuple[str, str, Table]]:
    """Writes the CSV and the heat map of each two-way table; yields its file's name, its heading and itself."""
    for metric in shown_metrics(findings.metric):
        for name, grid in grids(dataclasses.replace(findings, metric=metric), space):
            file = f"{name}_{metric.replace('@', '').replace('%', '').replace(' ', '_')}"
            _write_csv(folder / f"{file}.csv", grid.text())
            grid.draw(folder / f"{file}.png", findings.plain[metric])
            heading = f"Table {name[-1].upper()}: {grid.title}" if space.tables else grid.title
            yield file, heading, grid.text()


def _best_table(findings: Findings, fields: list[str], count: int = 10) -> Table:
    if findings.objective.draws:
        return _best_controlled(findings, fields, count)
    metric, plain = findings.metric, findings.plain
    others = [name for name in shown_metrics(metric) if name != metric]
    headers = ["setting", metric, "95 % interval", "over plain", *DIFFERENCE_HEADERS, *others]
    rows = [["plain", percent(plain[metric]), interval_text(findings.plain_interval)]]
    rows[0] += difference_cells(None, None)
    rows[0] += [percent(plain[name]) for name in others]
    listed = zip(findings.all, findings.corrected, strict=True)
    for finding, p in sorted(listed, key=lambda pair: -pair[0].metrics[metric])[:count]:
        row = [short(finding.setting, fields), percent(finding.metrics[metric]), interval_text(finding.interval)]
        row += difference_cells(finding.gain, p)
        rows.append(row + [percent(finding.metrics[name]) for name in others])
    return headers, rows


def _best_controlled(findings: Findings, fields: list[str], count: int) -> Table:
    """The settings with the most own minus shuffled boxes; first those that may be the best."""
    metric, objective = findings.metric, findings.objective
    others = [name for name in shown_metrics(metric) if name != metric]
    headers = ["setting", metric, *DIFFERENCE_HEADERS, objective.gain, "95 % interval", "may be best", *others]
    rows = [["plain", *difference_cells(None, None), "", "", "", *(percent(findings.plain[name]) for name in others)]]
    listed = zip(findings.all, findings.corrected, strict=True)
    for finding, p in sorted(listed, key=lambda pair: (pair[0].loss > 0, -pair[0].metrics[metric]))[:count]:
        gain = points(finding.gain.difference), interval_text(finding.gain.interval, signed=True)
        row = [
            short(finding.setting, fields),
            *difference_cells(finding.own, p),
            *gain,
            "no" if finding.loss else "yes",
        ]
        rows.append(row + [percent(finding.metrics[name]) for name in others])
    return headers, rows


def _confirmation_table(confirmation: Confirmation, samples: int, seed: int) -> Table:
    pairs = [("best over plain", confirmation.plain, confirmation.best)]
    if confirmation.matched is not None:
        (plain, best), count = confirmation.matched, confirmation.candidates
        pairs += [(f"plain, {count} best re-ranked by ITM, over plain", confirmation.plain, plain)]
        pairs += [(f"best, {count} best re-ranked by ITM, over plain re-ranked", plain, best)]
    changes = []
    for name, before, after in pairs:
        comparison = compare(before, after, KS, samples=samples, seed=seed)
        changes += [(name, metric, pick(comparison, metric)) for metric in _CONFIRMED]
    if confirmation.shuffled:
        name, draws = "best over best with shuffled boxes", confirmation.shuffled
        for metric in _CONFIRMED:
            own = own_minus_shuffled(confirmation.best, draws, metric, samples=samples, seed=seed)
            changes.append((name, metric, own))
    corrected = holm([change.p for _, _, change in changes])
    rows = [
        [name, metric, percent(change.first), percent(change.second), *difference_cells(change, p)]
        for (name, metric, change), p in zip(changes, corrected, strict=True)
    ]
    return ["", "metric", "before", "after", "difference", *DIFFERENCE_HEADERS], rows


def _write_csv(path: Path, table: Table) -> None:
    path.write_text(csv_text([table[0], *table[1]]), encoding="utf-8", newline="")
