"""A measurement as text, Markdown, CSV and JSON: the same figures, and the same remarks on what they rest on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.printing import printable
from pipeline.reports.recall_tables import DIRECTIONS, Table, bin_name, bins_table, comparison_table, overall_table
from pipeline.reports.text_table import csv_text, markdown, markdown_text, terminal
from pipeline.retrieval.evaluation import Evaluation
from pipeline.retrieval.intervals import Interval
from pipeline.retrieval.measurement import Measured, Measurement
from pipeline.retrieval.recall import DirectionRecall

_COLUMNS = (
    "set",
    "direction",
    "figure",
    "largest_object",
    "queries",
    "value",
    "low",
    "high",
    "only_first",
    "only_second",
    "p",
)


def as_text(found: Measurement, *, by: str = "indexed") -> str:
    """Tables for the terminal, and the remarks. `by` says whose objects the size bins go by: indexed or annotated."""
    parts = [printable(_title(found))]
    for heading, table in _tables(found, by):
        parts += [heading, terminal(*table)]
    return "\n\n".join([*parts, "\n".join(printable(line) for line in remarks(found))])


def as_markdown(found: Measurement, *, by: str = "indexed") -> str:
    """The same as GitHub-flavoured Markdown."""
    parts = ["# Retrieval by object size", markdown_text(_title(found))]
    for heading, table in _tables(found, by):
        parts += [f"## {heading[0].upper()}{heading[1:]}", markdown(*table)]
    lines = [f"- {markdown_text(line)}" for line in remarks(found)]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def as_json(found: Measurement) -> str:
    """Everything, as fractions; the keys of recalls are the K. The baseline, if any, stands under `against`."""
    plain = _plain(found.sets[-1])
    if found.comparison is not None:
        plain |= {"against": _plain(found.sets[0]), "comparison": asdict(found.comparison)}
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def as_csv(found: Measurement) -> str:
    """A row for each figure of each set, then for each difference; figures are fractions, absent ones empty."""
    rows: list[Sequence[Any]] = [_COLUMNS]
    for each in found.sets:
        for direction in DIRECTIONS:
            rows += _set_rows(each, direction)
    if found.comparison is not None:
        for direction in DIRECTIONS:
            rows += _difference_rows(found, direction)
    return csv_text(rows)


def remarks(found: Measurement) -> list[str]:
    """One line for each thing that a reader of the figures should know."""
    lines = []
    for each in found.sets:
        prefix = f"{each.name}: " if len(found.sets) > 1 else ""
        lines += [prefix + line for line in _left_out(each.evaluation)]
    first = found.sets[0]
    report = first.evaluation.report
    if report.i2t.unbinned:
        lines.append(f"in no size bin: {report.i2t.unbinned} photos without an object (they count in R@K)")
    if report.i2t.empty_bins:
        names = ", ".join(bin_name(number) for number in report.i2t.empty_bins)
        lines.append(f"left out of mR@K: size bins without a photo, {names}")
    filled = [(each.queries, number) for number, each in enumerate(report.t2i.bins) if each.queries]
    if filled:
        captions, number = min(filled)
        photos = report.i2t.bins[number].queries
        lines.append(
            f"smallest size bin: {bin_name(number)}, {photos} photos and {captions} captions;"
            f" one caption is worth {100 / captions:.2f} points there"
        )
    intervals = first.intervals
    share = f"{100 * intervals.confidence:g} %"
    lines.append(f"in brackets: {share} bootstrap intervals over the photos, {intervals.samples} resamples")
    if any(end.low == end.high for end in _bin_intervals(found) if end):
        lines.append(
            "no width: where all photos of a bin agree, resampling them shows nothing;"
            " with n photos the truth may still lie 300/n points away"
        )
    if found.comparison is not None:
        lines.append("only: queries that the first set alone gets right / the second alone; p: McNemar's exact test,")
        lines.append("which takes the captions of a photo for independent; the intervals of the differences do not")
        if found.comparison.other_bins:
            lines.append(
                f"size bins: those of {found.sets[1].name} for both sets;"
                f" {found.comparison.other_bins} photos have another bin in {first.name}"
            )
    return lines


def _bin_intervals(found: Measurement) -> Iterator[Interval | None]:
    """Of the bins that the tables show: the set's own, or those of the differences."""
    for direction in DIRECTIONS:
        if found.comparison is None:
            for one in getattr(found.sets[0].intervals, direction).bins:
                yield from one.values()
        else:
            k = found.sets[0].evaluation.report.ks[0]
            for one in getattr(found.comparison, direction).bins:
                yield one[k].interval


def _title(found: Measurement) -> str:
    report = found.sets[0].evaluation.report
    names = f"{found.sets[1].name} against {found.sets[0].name}; " if len(found.sets) > 1 else ""
    return f"{names}{report.images} photos, {report.texts} captions; figures in percent"


def _tables(found: Measurement, by: str) -> Iterator[tuple[str, Table]]:
    report, intervals = found.sets[0].evaluation.report, found.sets[0].intervals
    if found.comparison is None:
        yield "all queries", overall_table(report, intervals)
        for direction, title in DIRECTIONS.items():
            heading = f"{title}, by the area of the largest {by} object"
            yield heading, bins_table(report, direction, intervals)
        return
    other = found.sets[1]
    for direction, title in DIRECTIONS.items():
        table = comparison_table(
            (found.sets[0].name, other.name), (report, other.evaluation.report), found.comparison, direction
        )
        yield f"{title}, over all and by the area of the largest {by} object", table


def _left_out(evaluation: Evaluation) -> Iterator[str]:
    for who, why in ((evaluation.missing, "are not in the features"), (evaluation.failed, "could not be indexed")):
        if who:
            yield f"left out: {len(who)} captioned images that {why}, {_some(who)}"
    if evaluation.ignored:
        yield f"not in the gallery: {evaluation.ignored} indexed photos outside the captions"


def _some(names: tuple[str, ...] | dict[str, str]) -> str:
    shown = [f"{name} ({names[name]})" if isinstance(names, dict) else name for name in list(names)[:3]]
    return "such as " + ", ".join(shown)


def _plain(each: Measured) -> dict[str, Any]:
    evaluation = each.evaluation
    return {
        "name": each.name,
        "report": evaluation.report.to_dict(),
        "intervals": asdict(each.intervals),
        "missing": evaluation.missing,
        "failed": evaluation.failed,
        "ignored": evaluation.ignored,
    }


def _set_rows(each: Measured, direction: str) -> Iterator[list[Any]]:
    report = each.evaluation.report
    part: DirectionRecall = getattr(report, direction)
    between = getattr(each.intervals, direction)
    for k in report.ks:
        start = [each.name, direction, f"R@{k}"]
        yield [*start, "all", part.queries, part.overall.get(k), *_ends(between.overall[k]), None, None, None]
        for number, one in enumerate(part.bins):
            ends = _ends(between.bins[number][k])
            yield [*start, bin_name(number), one.queries, one.recall.get(k), *ends, None, None, None]
        ends = _ends(between.mean_recall[k])
        binned = part.queries - part.unbinned
        yield [each.name, direction, f"mR@{k}", "all", binned, part.mean_recall[k], *ends, None, None, None]
    for name, value in (("median rank", part.median_rank), ("mean rank", part.mean_rank)):
        yield [each.name, direction, name, "all", part.queries, value, None, None, None, None, None]


def _difference_rows(found: Measurement, direction: str) -> Iterator[list[Any]]:
    report = found.sets[0].evaluation.report
    part: DirectionRecall = getattr(report, direction)
    differences = getattr(found.comparison, direction)
    binned = part.queries - part.unbinned
    for k in report.ks:
        rows = [(f"R@{k}", "all", part.queries, differences.overall[k])]
        rows += [(f"R@{k}", bin_name(n), part.bins[n].queries, one[k]) for n, one in enumerate(differences.bins)]
        rows += [(f"mR@{k}", "all", binned, differences.mean_recall[k])]
        for figure, size, queries, each in rows:
            ends = _ends(each.interval)
            values = [each.difference, *ends, each.lost, each.gained, each.p]
            yield ["difference", direction, figure, size, queries, *values]


def _ends(interval: Any) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
