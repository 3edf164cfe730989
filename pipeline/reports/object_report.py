"""The result of object queries as text, Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.printing import printable
from pipeline.reports.difference_text import SHOWN_MEANS, short_p, shown_text
from pipeline.reports.recall_tables import points_with_interval, with_interval
from pipeline.reports.text_table import Table, csv_text, markdown, markdown_text, percent, terminal
from pipeline.retrieval.comparison import Difference
from pipeline.retrieval.intervals import CONFIDENCE, Interval
from pipeline.retrieval.multiple import compared, holm
from pipeline.retrieval.object_queries import GROUPS
from pipeline.retrieval.object_result import ObjectResult, ObjectSet

_COLUMNS = (
    "set",
    "figure",
    "largest_object",
    "queries",
    "value",
    "low",
    "high",
    "worse",
    "better",
    "p",
    "p_holm",
    "detectable",
)
_NAMED = 5
"""Classes without a wrong photo that are named."""


def as_text(result: ObjectResult) -> str:
    """Tables for the terminal, and the remarks."""
    parts = [printable(_title(result))]
    for heading, table in _tables(result):
        parts += [heading, terminal(*table)]
    return "\n\n".join([*parts, "\n".join(printable(line) for line in remarks(result))])


def as_markdown(result: ObjectResult) -> str:
    """The same as GitHub-flavoured Markdown."""
    parts = ["# Retrieval by the names of objects", markdown_text(_title(result))]
    for heading, table in _tables(result):
        parts += [f"## {heading[0].upper()}{heading[1:]}", markdown(*table)]
    lines = [f"- {markdown_text(line)}" for line in remarks(result)]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def as_json(result: ObjectResult) -> str:
    """Everything, in fractions, with the figures of every class. The baseline, if any, is under the key `against`."""
    plain = _plain(result.sets[-1]) | {"samples": result.samples, "seed": result.seed}
    if result.differences is not None:
        corrected = _corrected(result)
        plain |= {"against": _plain(result.sets[0]), "comparison": {}}
        for group, name, change in _differences(result):
            tests = {"detectable": change.detectable, "p_holm": corrected.get((group, name))}
            plain["comparison"].setdefault(group, {})[name] = asdict(change) | tests
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def as_csv(result: ObjectResult) -> str:
    """A row for each figure of each set, then for each difference; in fractions, missing figures are empty."""
    rows: list[Sequence[Any]] = [_COLUMNS]
    for of_set in result.sets:
        for group, figures in zip(GROUPS, of_set.figures, strict=True):
            for name, figure in zip(of_set.evaluation.names, figures, strict=True):
                row = [of_set.name, name, group, figure.queries, figure.value, *_ends(figure.interval)]
                rows.append([*row, *[None] * 5])
    corrected = _corrected(result)
    for group, name, change in _differences(result):
        row = ["difference", name, group, _queries(result, group), change.difference, *_ends(change.interval)]
        tests = [change.lost, change.gained, change.p, corrected.get((group, name)), change.detectable]
        rows.append([*row, *tests])
    return csv_text(rows)


def remarks(result: ObjectResult) -> list[str]:
    """One line for everything that a reader of the figures should know."""
    first = result.sets[0].evaluation
    lines = [
        "right: every photo that shows the class; by size, those whose largest box of the class is that large, the"
        " others that show it being left out"
    ]
    ranked = first.right[:, 0] + first.wrong
    if (ranked < len(first.gallery)).any():
        lines.append(
            "the annotators looked for some classes in each photo only: a query ranks the photos that are known to show"
            f" its class or not, {_counts(ranked)} per query"
        )
    for of_set in result.sets:
        prefix = f"{of_set.name}: " if len(result.sets) > 1 else ""
        if of_set.evaluation.failed:
            lines.append(f"{prefix}left out: {of_set.evaluation.failed} photos that could not be indexed")
        if of_set.evaluation.ignored:
            lines.append(f"{prefix}not in the gallery: {of_set.evaluation.ignored} indexed photos without annotations")
    if first.trivial:
        names = ", ".join(first.trivial[:_NAMED])
        lines.append(f"no queries: {len(first.trivial)} classes that no photo is known not to show, such as {names}")
    lines.append(
        f"in brackets: {100 * CONFIDENCE:g} % bootstrap intervals over the queries, {result.samples} resamples:"
        " how much a figure varies with the choice of classes, not of photos"
    )
    if result.differences is not None:
        count = compared([change.p for _, _, change in _listed(result)])
        lines.append(SHOWN_MEANS)
        lines.append(
            "better / worse: queries whose figure is higher / lower in the second set; p: sign flips over queries;"
        )
        lines.append(f"Holm: the same, corrected for the {count} in these tables")
    return lines


def _title(result: ObjectResult) -> str:
    evaluation = result.sets[-1].evaluation
    names = f"{result.sets[1].name} against {result.sets[0].name}; " if len(result.sets) > 1 else ""
    return (
        f"{names}{len(evaluation.classes)} classes as queries, {len(evaluation.gallery)} photos,"
        f" {_counts(evaluation.right[:, 0])} right ones per query; figures in percent"
    )


def _tables(result: ObjectResult) -> Iterator[tuple[str, Table]]:
    of_set = result.sets[0]
    if result.differences is None:
        rows = [
            [name, *(with_interval(row[number].value, row[number].interval) for row in of_set.figures)]
            for number, name in enumerate(of_set.evaluation.names)
        ]
        rows.append(["queries", *(str(row[0].queries) for row in of_set.figures)])
        rows.append(["right photos", *map(str, of_set.evaluation.right.sum(axis=0).tolist())])
        yield "by the area of the largest box of the class", (["", *GROUPS], rows)
        return
    corrected = _corrected(result)
    headers = [
        "",
        *(each.name for each in result.sets),
        "difference",
        "shown",
        "better / worse",
        "p",
        "Holm",
        "queries",
    ]
    for wanted in GROUPS:
        rows = []
        for group, name, change in _listed(result):
            if group == wanted:
                values = [percent(change.first), percent(change.second)]
                values += [points_with_interval(change.difference, change.interval), shown_text(change)]
                values += ["" if change.gained is None else f"{change.gained} / {change.lost}"]
                tests = [short_p(change.p), short_p(corrected[group, name])]
                rows.append([name, *values, *tests, str(_queries(result, group))])
        yield "all right photos" if wanted == GROUPS[0] else f"largest box of the class {wanted}", (headers, rows)


def _differences(result: ObjectResult) -> Iterator[tuple[str, str, Difference]]:
    for group, changes in zip(GROUPS, result.differences or (), strict=False):
        for name, change in zip(result.sets[0].evaluation.names, changes, strict=True):
            yield group, name, change


def _listed(result: ObjectResult) -> list[tuple[str, str, Difference]]:
    """The rows of the tables: every figure over all right photos, and one with each name but R@K and nDCG@K by size."""
    first = f"R@{result.sets[0].evaluation.ks[0]}"
    return [
        (group, name, change)
        for group, name, change in _differences(result)
        if group == GROUPS[0] or "@" not in name or name == first
    ]


def _corrected(result: ObjectResult) -> dict[tuple[str, str], float | None]:
    """Holm's adjusted p over all rows of the tables."""
    listed = _listed(result)
    adjusted = holm([change.p for _, _, change in listed])
    return {(group, name): p for (group, name, _), p in zip(listed, adjusted, strict=True)}


def _queries(result: ObjectResult, group: str) -> int:
    return result.sets[0].figures[GROUPS.index(group)][0].queries


def _plain(of_set: ObjectSet) -> dict[str, Any]:
    evaluation = of_set.evaluation
    classes = {
        name: {
            "right": dict(zip(GROUPS, evaluation.right[query].tolist(), strict=True)),
            "wrong": int(evaluation.wrong[query]),
            "figures": {
                group: dict(zip(evaluation.names, values.tolist(), strict=True))
                for group, values in zip(GROUPS, evaluation.figures[query], strict=True)
                if not np.isnan(values[0])
            },
        }
        for query, name in enumerate(evaluation.classes)
    }
    figures = {
        group: {name: asdict(figure) for name, figure in zip(evaluation.names, row, strict=True)}
        for group, row in zip(GROUPS, of_set.figures, strict=True)
    }
    return {
        "name": of_set.name,
        "photos": len(evaluation.gallery),
        "ignored": evaluation.ignored,
        "failed": evaluation.failed,
        "trivial": evaluation.trivial,
        "figures": figures,
        "classes": classes,
    }


def _counts(values: np.ndarray) -> str:
    """`3` or `1 to 250, median 12`."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high} (median {np.median(values):g})"


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
