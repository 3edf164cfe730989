"""Object queries in all formats: the same figures, and remarks on what they rest on."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.reports.object_report import as_csv, as_json, as_markdown, as_text, remarks
from pipeline.retrieval.multiple import holm
from pipeline.retrieval.object_queries import GROUPS, ObjectEvaluation
from pipeline.retrieval.object_result import ObjectResult

KS = (1, 5)


def evaluation(seed, queries=20):
    """No class has a tiny right photo; one photo could not be indexed, and three are not annotated."""
    rng = np.random.default_rng(seed)
    figures = rng.random((queries, len(GROUPS), 3 + 2 * len(KS)))
    figures[:, 1] = np.nan
    right = np.tile([4, 0, 1, 2, 2], (queries, 1))
    names = tuple(f"class {number}" for number in range(queries))
    gallery = tuple(map(str, range(10)))
    return ObjectEvaluation(KS, names, figures, right, np.full(queries, 6), gallery, 3, 1, ("sky\x1b",))


@pytest.fixture(scope="module")
def one():
    return ObjectResult.of(("plain", evaluation(0)), samples=200)


@pytest.fixture(scope="module")
def two():
    return ObjectResult.of(("new", evaluation(0)), ("$old_", evaluation(1)), samples=200)


def test_text_has_a_column_for_every_size(one):
    text = as_text(one)
    assert text.startswith("20 classes as queries, 10 photos, 4 right ones per query; figures in percent")
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    for name in ("mAP", "R-precision", "nDCG", "nDCG@1", "nDCG@5", "R@1", "R@5"):
        assert lines[name].split().count("-") == 1  # no photo with a tiny object
    figure = one.sets[0].figures[0][0]
    assert lines["mAP"].split()[1] == f"{100 * figure.value:.2f}"
    assert lines["queries"].split()[1:] == ["20", "0", "20", "20", "20"]
    assert lines["right photos"].split()[2:] == ["80", "0", "20", "40", "40"]
    assert "left out: 1 photos that could not be indexed" in text
    assert "not in the gallery: 3 indexed photos without annotations" in text
    assert "no queries: 1 classes that no photo is known not to show, such as sky\\x1b" in text
    assert "95 % bootstrap intervals over the queries, 200 resamples" in text
    assert "\x1b" not in as_markdown(one)


def test_remarks_tell_of_classes_that_were_looked_for_in_some_photos_only(one):
    assert not any("looked for some classes" in line for line in remarks(one))
    few = replace(evaluation(0), wrong=np.arange(20) % 5 + 1)
    (line,) = [line for line in remarks(ObjectResult.of(("x", few), samples=100)) if "looked for" in line]
    assert "5 to 9 (median 7) per query" in line


def test_two_sets_are_compared_and_corrected_for_the_tables(two):
    text = as_text(two)
    assert text.startswith("new against $old_; 20 classes")
    # Seven figures over all, and mAP, R-precision, nDCG and R@1 in three sizes.
    assert "Holm: the same, corrected for the 19 in these tables" in text
    assert "not shown (" in text
    markdown = as_markdown(two)
    assert (
        "| | $old_ | new | difference | shown | better / worse | p | Holm | queries |".replace("| |", "|  |")
        in markdown
    )
    change = two.differences[0][0]
    assert f"{change.gained} / {change.lost}" in text


def test_csv_has_every_figure_and_difference(one, two):
    rows = list(csv.DictReader(io.StringIO(as_csv(one))))
    assert len(rows) == 7 * len(GROUPS)
    assert float(rows[0]["value"]) == one.sets[0].figures[0][0].value
    rows = [row for row in csv.DictReader(io.StringIO(as_csv(two))) if row["set"] == "difference"]
    assert len(rows) == 7 * len(GROUPS)
    assert float(rows[0]["detectable"]) == two.differences[0][0].detectable
    tested = [row for row in rows if row["p_holm"]]
    assert len(tested) == 19
    assert [float(row["p_holm"]) for row in tested] == holm([float(row["p"]) for row in tested])


def test_json_has_the_figures_of_every_class(one, two):
    saved = json.loads(as_json(one))
    assert saved["figures"]["all"]["mAP"]["value"] == one.sets[0].figures[0][0].value
    of_class = saved["classes"]["class 3"]
    assert of_class["right"] == dict(zip(GROUPS, [4, 0, 1, 2, 2], strict=True))
    assert of_class["figures"]["all"]["mAP"] == one.sets[0].evaluation.figures[3, 0, 0]
    assert GROUPS[1] not in of_class["figures"]
    saved = json.loads(as_json(two))
    assert saved["against"]["name"] == "$old_"
    assert saved["comparison"]["< 10 %"]["mAP"]["p"] == two.differences[3][0].p
    assert saved["comparison"]["< 10 %"]["nDCG@5"]["p_holm"] is None
