"""Answers as a table, JSON, JSON lines and CSV; ids and labels of others stay harmless."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.errors import QpertError
from pipeline.features.views import View
from pipeline.queries.answers import as_csv, as_json, as_json_lines, as_text, result_of, write_file, written
from pipeline.queries.hits import Hit, Hits

STAR = {"label": "star", "score": 0.9000000357627869, "x0": 0.10000000149011612, "y0": 0.25, "x1": 0.5, "y1": 1.0}
HOSTILE = '=HYPERLINK("http://x")\n\x1b[2J\u202e.jpg'
TAKEN = datetime(2024, 5, 6, 7, 8, 9)
FULL = Hit(
    "a.jpg",
    "/p/a.jpg",
    0.5,
    View("crop", (0.1, 0.2, 0.3, 0.4)),
    "part-1",
    (Hit("b.jpg", "/p/b.jpg", 0.25), Hit("c.jpg", "/p/c.jpg", 0.125)),
    width=640,
    height=480,
    taken=TAKEN,
    objects=(STAR,),
)
ANSWERS = [Hits("a star", (FULL,), offset=10), Hits("@nothing", ()), Hits("x", (Hit(HOSTILE, HOSTILE, 0.25),))]


def test_a_result_has_all_that_is_known() -> None:
    assert result_of(FULL, 11) == {
        "rank": 11,
        "score": 0.5,
        "image_id": "a.jpg",
        "uri": "/p/a.jpg",
        "set": "part-1",
        "view": {"kind": "crop", "box": [0.1, 0.2, 0.3, 0.4]},
        "width": 640,
        "height": 480,
        "taken": "2024-05-06T07:08:09",
        "objects": [{"label": "star", "score": 0.9, "box": [0.1, 0.25, 0.5, 1.0]}],
        "folded": ["b.jpg", "c.jpg"],
    }
    assert {"set", "view"}.isdisjoint(result_of(Hit("a", "/a", 1.0), 1))


def test_json_and_json_lines_hold_the_same_results() -> None:
    whole = json.loads(as_json(ANSWERS))
    assert [answer["query"] for answer in whole] == ["a star", "@nothing", "x"]
    assert whole[0]["results"][0]["rank"] == 11
    assert whole[2]["results"][0]["image_id"] == HOSTILE
    lines = [json.loads(line) for line in as_json_lines(ANSWERS).split("\n")]
    assert lines == [{"query": answer["query"], **result} for answer in whole for result in answer["results"]]


def test_csv_is_read_back_by_any_reader_and_runs_no_formula() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(ANSWERS))))
    assert len(rows) == 2
    assert rows[0] == {
        "query": "a star",
        "rank": "11",
        "score": "0.5",
        "set": "part-1",
        "image_id": "a.jpg",
        "uri": "/p/a.jpg",
        "width": "640",
        "height": "480",
        "taken": "2024-05-06T07:08:09",
        "view": "crop 10,20-30,40",
        "objects": "star 0.90",
        "folded": "b.jpg; c.jpg",
    }
    assert rows[1]["image_id"].startswith("'=HYPERLINK")
    assert as_csv([]).count("\n") == 0


@pytest.mark.parametrize("write", [as_text, as_csv, as_json, as_json_lines])
def test_nothing_acts_on_a_terminal(write: Callable[[Sequence[Hits]], str]) -> None:
    text = write(ANSWERS)
    assert all(letter.isprintable() for line in text.split("\n") for letter in line)


def test_the_table_goes_on_counting_and_names_sets_and_near_duplicates() -> None:
    lines = as_text(ANSWERS).splitlines()
    assert " ".join(lines[1].split()) == "11 0.500 part-1 crop 10,20-30,40 /p/a.jpg (and 2 near-duplicates)"
    assert lines[4] == "      no photo scores high enough"
    assert as_text([Hits("a", (), offset=10)]).splitlines()[1] == "      no further photo"
    assert "no photo that meets the filters (with dog) scores high enough" in as_text(
        [Hits("a", (), filters="with dog")]
    )
    one = Hits("a", (Hit("a", "/a", 1.0, folded=(Hit("b", "/b", 1.0),)),))
    assert as_text([one]).endswith("/a  (and 1 near-duplicate)")


def test_files_hold_what_the_terminal_would_show(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    write_file(str(path), written(ANSWERS, "csv"))
    assert path.read_text(encoding="utf-8") == as_csv(ANSWERS)
    with pytest.raises(QpertError, match="cannot write"):
        write_file(str(tmp_path), "x")


def test_json_escapes_what_the_terminal_lacks() -> None:
    assert written([Hits("ü", ())], "json", "ascii") == as_json([Hits("ü", ())], "ascii")
    assert written([Hits("ü", ())], "json", "ascii").isascii()
