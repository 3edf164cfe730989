"""The same figures in all formats, and remarks on what they rest on."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from pipeline.reports.recall_report import as_csv, as_json, as_markdown, as_text, remarks
from pipeline.retrieval.multiple import holm


def test_remarks_say_what_is_missing_and_how_fine_the_figures_are(one):
    lines = remarks(one)
    assert "left out: 2 captioned images that are not in the features, such as x.jpg, y\x1b.jpg" in lines
    assert "left out: 1 captioned images that could not be indexed, such as z.jpg (truncated image)" in lines
    assert "not in the gallery: 3 indexed photos outside the captions" in lines
    assert "in no size bin: 10 photos without an object (they count in R@K)" in lines
    assert any(line.startswith("left out of mR@K: size bins without a photo, 10-20 %, 20-30 %") for line in lines)
    assert any("0-10 %, 10 photos and 20 captions; one caption is worth 5.00 points" in line for line in lines)
    assert "in brackets: 95 % bootstrap intervals over the photos, 200 resamples" in lines


def test_text_has_every_table_and_no_control_characters(one):
    text = as_text(one, by="annotated")
    assert text.startswith("30 photos, 60 captions; figures in percent")
    assert "text to image, by the area of the largest annotated object" in text
    assert "image to text, by the area of the largest annotated object" in text
    assert "y\\x1b.jpg" in text
    assert "\x1b" not in text
    assert "\x1b" not in as_markdown(one)


def test_two_sets_are_named_and_compared(two):
    text = as_text(two)
    assert text.startswith("new against $old_; 30 photos, 60 captions")
    assert "size bins: those of new for both sets; 4 photos have another bin in $old_" in text
    assert "p: sign flips over photos," in text
    # Both directions: R@1, R@5, mR@1, mR@5, and R@1 of the two bins with queries.
    assert "Holm: the same, corrected for the 12 in these tables" in text
    assert "the smallest true difference (in points) that this comparison would have shown with 80 % power" in text
    assert re.search(r"not shown \(\d+\.\d\d\)", text)


def test_markdown_holds_the_same_cells(two):
    text, lines = as_text(two), as_markdown(two).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert ["", "$old_", "new", "difference", "shown", "only", "p", "Holm", "queries"] in rows
    cells = {cell for row in rows for cell in row if not set(cell) <= set(":-")}
    assert all(cell in text for cell in cells)
    assert lines[0] == "# Retrieval by object size"


def test_csv_has_a_row_for_every_figure(one, two):
    rows = list(csv.DictReader(io.StringIO(as_csv(one))))
    assert len(rows) == 2 * (2 * 12 + 2)
    by_figure = {(row["direction"], row["figure"], row["largest_object"]): row for row in rows}
    report, intervals = one.sets[0].evaluation.report, one.sets[0].intervals
    row = by_figure["t2i", "R@5", "0-10 %"]
    assert float(row["value"]) == report.t2i.bins[0].recall[5]
    assert (float(row["low"]), float(row["high"])) == intervals.t2i.bins[0][5]
    assert row["queries"] == "20"
    assert by_figure["i2t", "R@1", "90-100 %"]["value"] == ""
    assert float(by_figure["i2t", "mR@1", "all"]["value"]) == report.i2t.mean_recall[1]
    assert float(by_figure["t2i", "mean rank", "all"]["value"]) == report.t2i.mean_rank
    rows = list(csv.DictReader(io.StringIO(as_csv(two))))
    assert {row["set"] for row in rows} == {"$old_", "new", "difference"}
    (row,) = [
        r
        for r in rows
        if (r["set"], r["direction"], r["figure"], r["largest_object"]) == ("difference", "t2i", "R@1", "all")
    ]
    expected = two.comparison.t2i.overall[1]
    assert float(row["value"]) == expected.difference
    assert (int(row["only_first"]), int(row["only_second"])) == (expected.lost, expected.gained)
    assert float(row["p"]) == expected.p
    assert float(row["detectable"]) == expected.detectable
    differences = [row for row in rows if row["set"] == "difference"]
    tested = [row for row in differences if row["p_holm"]]
    assert {row["figure"] for row in differences if row["p"] and not row["p_holm"]} == {"R@5"}  # bins beyond the tables
    assert [float(row["p_holm"]) for row in tested] == holm([float(row["p"]) for row in tested])


def test_json_holds_everything_but_the_ranks(one, two):
    saved = json.loads(as_json(one))
    assert set(saved) == {"name", "report", "intervals", "missing", "failed", "ignored"}
    assert saved["report"]["t2i"]["overall"]["1"] == one.sets[0].evaluation.report.t2i.overall[1]
    assert saved["intervals"]["t2i"]["overall"]["1"] == pytest.approx(one.sets[0].intervals.t2i.overall[1])
    saved = json.loads(as_json(two))
    assert (saved["name"], saved["against"]["name"]) == ("new", "$old_")
    difference = saved["comparison"]["t2i"]["overall"]["1"]["difference"]
    recalls = [of_set["report"]["t2i"]["overall"]["1"] for of_set in (saved["against"], saved)]
    assert difference == pytest.approx(recalls[1] - recalls[0])
    for figures in (saved["comparison"][direction] for direction in ("t2i", "i2t")):
        assert {"p", "p_holm", "detectable", "standard_error"} < set(figures["bins"][0]["1"])
        assert figures["bins"][0]["1"]["p_holm"] >= figures["bins"][0]["1"]["p"]
        assert figures["bins"][0]["5"]["p_holm"] is None
    expected = two.comparison.t2i.mean_recall[1]
    assert saved["comparison"]["t2i"]["mean_recall"]["1"]["detectable"] == expected.detectable
