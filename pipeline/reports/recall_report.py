"""The result of an evaluation as text, Markdown, CSV and JSON: the same figures, and remarks on what they rest on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.printing import printable
from pipeline.reports.difference_text import SHOWN_MEANS
from pipeline.reports.recall_tables import (
    DIRECTIONS,
    bin_name,
    bins_table,
    comparison_table,
    corrected_p,
    overall_table,
)
from pipeline.reports.text_table import Table, csv_text, markdown, markdown_text, terminal
from pipeline.retrieval.comparison import Comparison, Difference
from pipeline.retrieval.evaluation import Evaluation
from pipeline.retrieval.evaluation_result import EvaluationResult, NamedEvaluation
from pipeline.retrieval.intervals import Interval
from pipeline.retrieval.multiple import compared
from pipeline.retrieval.recall import DirectionRecall
from pipeline.retrieval.resampling import Figures

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
    "p_holm",
    "detectable",
)
_NO_TEST = [None] * 5
"""The columns of a row that is no difference."""


def as_text(result: EvaluationResult, *, by: str = "indexed") -> str:
    """Tables for the terminal, and the remarks. `by`: whose objects define the size bins, "indexed" or "annotated"."""
    parts = [printable(_title(result))]
    for heading, table in _tables(result, by):
        parts += [heading, terminal(*table)]
    return "\n\n".join([*parts, "\n".join(printable(line) for line in remarks(result))])


def as_markdown(result: EvaluationResult, *, by: str = "indexed") -> str:
    """The same as GitHub-flavoured Markdown."""
    parts = ["# Retrieval by object size", markdown_text(_title(result))]
    for heading, table in _tables(result, by):
        parts += [f"## {heading[0].upper()}{heading[1:]}", markdown(*table)]
    lines = [f"- {markdown_text(line)}" for line in remarks(result)]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def as_json(result: EvaluationResult) -> str:
    """Everything, in fractions; the keys of recalls are the K. The baseline, if any, is under the key `against`."""
    plain = _plain(result.sets[-1])
    if result.comparison is not None:
        ks = result.sets[0].evaluation.report.ks
        plain |= {"against": _plain(result.sets[0]), "comparison": _plain_comparison(result.comparison, ks)}
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def as_csv(result: EvaluationResult) -> str:
    """A row for each figure of each set, then for each difference; in fractions, missing figures are empty."""
    rows: list[Sequence[Any]] = [_COLUMNS]
    for of_set in result.sets:
        for direction in DIRECTIONS:
            rows += _set_rows(of_set, direction)
    if result.comparison is not None:
        for direction in DIRECTIONS:
            rows += _difference_rows(result, direction)
    return csv_text(rows)


def remarks(result: EvaluationResult) -> list[str]:
    """One line for everything that a reader of the figures should know."""
    lines = []
    for of_set in result.sets:
        prefix = f"{of_set.name}: " if len(result.sets) > 1 else ""
        lines += [prefix + line for line in _left_out(of_set.evaluation)]
    first = result.sets[0]
    report = first.evaluation.report
    if report.i2t.unbinned:
        lines.append(f"in no size bin: {report.i2t.unbinned} photos without an object (they count in R@K)")
    if report.i2t.empty_bins:
        names = ", ".join(bin_name(number) for number in report.i2t.empty_bins)
        lines.append(f"left out of mR@K: size bins without a photo, {names}")
    filled = [(size_bin.queries, number) for number, size_bin in enumerate(report.t2i.bins) if size_bin.queries]
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
    if any(end.low == end.high for end in _bin_intervals(result) if end):
        lines.append(
            "no width: where all photos of a bin agree, resampling shows no spread;"
            " with n photos the truth may still lie 300/n points away"
        )
    if result.comparison is not None:
        count = compared(list(corrected_p(result.comparison, report.ks).values()))
        lines.append(SHOWN_MEANS)
        lines.append("only: queries that the first set alone gets right / the second alone; p: sign flips over photos,")
        lines.append(
            f"with all captions of a photo together; Holm: the same, corrected for the {count} in these tables"
        )
        if result.comparison.other_bins:
            lines.append(
                f"size bins: those of {result.sets[1].name} for both sets;"
                f" {result.comparison.other_bins} photos have another bin in {first.name}"
            )
    return lines


def _bin_intervals(result: EvaluationResult) -> Iterator[Interval | None]:
    """The intervals of the bins in the tables: the set's own, or those of the differences."""
    for direction in DIRECTIONS:
        if result.comparison is None:
            for by_k in getattr(result.sets[0].intervals, direction).bins:
                yield from by_k.values()
        else:
            k = result.sets[0].evaluation.report.ks[0]
            for by_k in getattr(result.comparison, direction).bins:
                yield by_k[k].interval


def _title(result: EvaluationResult) -> str:
    report = result.sets[0].evaluation.report
    names = f"{result.sets[1].name} against {result.sets[0].name}; " if len(result.sets) > 1 else ""
    return f"{names}{report.images} photos, {report.texts} captions; figures in percent"


def _tables(result: EvaluationResult, by: str) -> Iterator[tuple[str, Table]]:
    report, intervals = result.sets[0].evaluation.report, result.sets[0].intervals
    if result.comparison is None:
        yield "all queries", overall_table(report, intervals)
        for direction, title in DIRECTIONS.items():
            heading = f"{title}, by the area of the largest {by} object"
            yield heading, bins_table(report, direction, intervals)
        return
    other = result.sets[1]
    for direction, title in DIRECTIONS.items():
        table = comparison_table(
            (result.sets[0].name, other.name), (report, other.evaluation.report), result.comparison, direction
        )
        yield f"{title}, over all and by the area of the largest {by} object", table


def _left_out(evaluation: Evaluation) -> Iterator[str]:
    for images, why in ((evaluation.missing, "are not in the features"), (evaluation.failed, "could not be indexed")):
        if images:
            yield f"left out: {len(images)} captioned images that {why}, {_examples(images)}"
    if evaluation.ignored:
        yield f"not in the gallery: {evaluation.ignored} indexed photos outside the captions"


def _examples(names: tuple[str, ...] | dict[str, str]) -> str:
    shown = [f"{name} ({names[name]})" if isinstance(names, dict) else name for name in list(names)[:3]]
    return "such as " + ", ".join(shown)


def _plain(of_set: NamedEvaluation) -> dict[str, Any]:
    evaluation = of_set.evaluation
    return {
        "name": of_set.name,
        "report": evaluation.report.to_dict(),
        "intervals": asdict(of_set.intervals),
        "missing": evaluation.missing,
        "failed": evaluation.failed,
        "ignored": evaluation.ignored,
    }


def _plain_comparison(comparison: Comparison, ks: tuple[int, ...]) -> dict[str, Any]:
    """As plain dictionaries, with `detectable`, and `p_holm` for the figures that the tables show."""
    plain, corrected = asdict(comparison), corrected_p(comparison, ks)
    for direction in DIRECTIONS:
        figures: Figures[Difference] = getattr(comparison, direction)
        saved = plain[direction]
        for k in ks:
            changes = [(f"R@{k}", figures.overall[k], saved["overall"][k])]
            changes += [(f"mR@{k}", figures.mean_recall[k], saved["mean_recall"][k])]
            for number, by_k in enumerate(figures.bins):
                changes.append((f"R@{k}, {bin_name(number)}", by_k[k], saved["bins"][number][k]))
            for label, change, entry in changes:
                entry |= {"detectable": change.detectable, "p_holm": corrected.get((direction, label))}
    return plain


def _set_rows(of_set: NamedEvaluation, direction: str) -> Iterator[list[Any]]:
    report = of_set.evaluation.report
    part: DirectionRecall = getattr(report, direction)
    spans = getattr(of_set.intervals, direction)
    for k in report.ks:
        start = [of_set.name, direction, f"R@{k}"]
        yield [*start, "all", part.queries, part.overall.get(k), *_ends(spans.overall[k]), *_NO_TEST]
        for number, size_bin in enumerate(part.bins):
            ends = _ends(spans.bins[number][k])
            yield [*start, bin_name(number), size_bin.queries, size_bin.recall.get(k), *ends, *_NO_TEST]
        ends = _ends(spans.mean_recall[k])
        binned = part.queries - part.unbinned
        yield [of_set.name, direction, f"mR@{k}", "all", binned, part.mean_recall[k], *ends, *_NO_TEST]
    for name, value in (("median rank", part.median_rank), ("mean rank", part.mean_rank)):
        yield [of_set.name, direction, name, "all", part.queries, value, None, None, *_NO_TEST]


def _difference_rows(result: EvaluationResult, direction: str) -> Iterator[list[Any]]:
    report = result.sets[0].evaluation.report
    part: DirectionRecall = getattr(report, direction)
    differences = getattr(result.comparison, direction)
    binned = part.queries - part.unbinned
    corrected = corrected_p(result.comparison, report.ks) if result.comparison else {}
    for k in report.ks:
        rows = [(f"R@{k}", "all", part.queries, differences.overall[k])]
        rows += [(f"R@{k}", bin_name(n), part.bins[n].queries, by_k[k]) for n, by_k in enumerate(differences.bins)]
        rows += [(f"mR@{k}", "all", binned, differences.mean_recall[k])]
        for figure, size, queries, change in rows:
            ends = _ends(change.interval)
            label = figure if size == "all" else f"{figure}, {size}"
            values = [change.difference, *ends, change.lost, change.gained, change.p]
            values += [corrected.get((direction, label)), change.detectable]
            yield ["difference", direction, figure, size, queries, *values]


def _ends(interval: Any) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
