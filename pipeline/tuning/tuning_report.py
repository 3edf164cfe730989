"""The report of a search: Markdown with all tables, each as CSV, heat maps, and every trial as Parquet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.experiments.result_tables import points, span
from pipeline.reports.text_table import csv_text, markdown, percent
from pipeline.retrieval.comparison import compare
from pipeline.retrieval.metrics import KS, pick
from pipeline.retrieval.ranks import Ranks
from pipeline.tuning.findings import Findings, Table
from pipeline.tuning.grid_tables import grids, shown
from pipeline.tuning.space import Space, short
from pipeline.tuning.trial_server import Counters


@dataclass(frozen=True)
class Confirmed:
    """The outcome of every query on other photos, plain and with the best setting.

    Attributes:
        plain: by contrast.
        best: by contrast.
        matched: both re-ranked by image-text matching, where that was asked for.
        candidates: how many of the best were re-ranked.
    """

    plain: Ranks
    best: Ranks
    matched: tuple[Ranks, Ranks] | None = None
    candidates: int = 0


@dataclass(frozen=True)
class Cost:
    """What the search took.

    Attributes:
        passed: photos that passed the backbone in this run, for the search.
        photos: photos that were searched on.
        failed: photos that could not be indexed.
        bytes: of their image tokens.
        counters: of the desk in this run.
        seconds: of this run, all in all.
    """

    passed: int
    photos: int
    failed: int
    bytes: int
    counters: Counters
    seconds: float

    def __str__(self) -> str:
        done = self.counters
        lost = f" ({self.failed:,} more photos could not be indexed)" if self.failed else ""
        return (
            f"Backbone: {self.passed:,} photo passes in this run for {self.photos:,} photos, whatever the number of"
            f" settings{lost}; tokens {self.bytes / 1e6:,.1f} MB. Settings embedded in this run: {done.embedded} in"
            f" {done.passes} passes over the tokens ({done.embedding_seconds:.1f} s, measuring"
            f" {done.measuring_seconds:.1f} s). All in all {self.seconds:.0f} s."
        )


def write_report(
    folder: Path,
    title: str,
    found: Findings,
    space: Space,
    cost: Cost,
    confirmed: Confirmed | None,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> str:
    """Write everything into `folder` and return the Markdown.

    Args:
        folder: it is made.
        title: of the report.
        found: the settings.
        space: what was searched.
        cost: what it took.
        confirmed: the confirming run; None: there was none.
        samples: bootstrap resamples of its intervals.
        seed: of these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fields = space.names
    best = found.best
    lines = [f"# {title}", f"**{short(best.setting, fields)}**", found.summary(), str(cost)]
    for name, heading, table in _tables(folder, found, space):
        lines += [f"## {heading}", markdown(*table), f"![{heading}]({name}.png)"]
    lines += ["## The best settings", markdown(*_best(found, fields))]
    if confirmed is not None:
        table = _confirmed(confirmed, samples, seed)
        _csv(folder / "confirmed.csv", table)
        note = f"{len(confirmed.plain.image_ranks):,} photos, {len(confirmed.plain.text_ranks):,} captions."
        lines += ["## Confirmed on photos that took no part in the choice", note, markdown(*table)]
    pq.write_table(found.rows(), folder / "trials.parquet")
    text = "\n\n".join(lines) + "\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    return f"{text}\nreport: {folder}/report.md; every trial: {folder}/trials.parquet"


def _tables(folder: Path, found: Findings, space: Space) -> Iterator[tuple[str, str, Table]]:
    """Each two-way table with its file's name and its heading, its CSV and heat map written."""
    for metric in shown(found.metric):
        for name, grid in grids(dataclasses.replace(found, metric=metric), space):
            file = f"{name}_{metric.replace('@', '').replace('%', '').replace(' ', '_')}"
            _csv(folder / f"{file}.csv", grid.text())
            grid.draw(folder / f"{file}.png", found.plain[metric])
            heading = f"Table {name[-1].upper()}: {grid.title}" if space.tables else grid.title
            yield file, heading, grid.text()


def _best(found: Findings, fields: list[str], count: int = 10) -> Table:
    order = sorted(found.all, key=lambda each: -each.metrics[found.metric])[:count]
    others = [metric for metric in shown(found.metric) if metric != found.metric]
    headers = ["setting", found.metric, "95 % interval", "over plain", "95 % interval", *others]
    rows = [["plain", percent(found.plain[found.metric]), span(found.plain_interval), "", ""]]
    rows[0] += [percent(found.plain[metric]) for metric in others]
    for each in order:
        gain = points(each.gain.difference), span(each.gain.interval, signed=True)
        row = [short(each.setting, fields), percent(each.metrics[found.metric]), span(each.interval), *gain]
        rows.append(row + [percent(each.metrics[metric]) for metric in others])
    return headers, rows


def _confirmed(confirmed: Confirmed, samples: int, seed: int) -> Table:
    pairs = [("best over plain", confirmed.plain, confirmed.best)]
    if confirmed.matched is not None:
        plain, best = confirmed.matched
        pairs += [(f"plain, {confirmed.candidates} best re-ranked by ITM, over plain", confirmed.plain, plain)]
        pairs += [(f"best, {confirmed.candidates} best re-ranked by ITM, over plain re-ranked", plain, best)]
    rows = []
    for name, before, after in pairs:
        comparison = compare(before, after, KS, samples=samples, seed=seed)
        for metric in ("10%", "R@1", "R@5", "mR@1", "i2t R@1"):
            each = pick(comparison, metric)
            change = points(each.difference), span(each.interval, signed=True)
            p = "" if each.p is None else f"{each.p:.3g}"
            rows.append([name, metric, percent(each.first), percent(each.second), *change, p])
    return ["", "metric", "before", "after", "difference", "95 % interval", "p"], rows


def _csv(path: Path, table: Table) -> None:
    path.write_text(csv_text([table[0], *table[1]]), encoding="utf-8", newline="")
