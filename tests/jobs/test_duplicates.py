"""`qpert duplicates` from words to a report."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from tests.duplicates.similar_sets import row, similar_photos, write_set
from tests.features.stored import manifest


@pytest.fixture
def out(tmp_path: Path) -> str:
    photos = similar_photos(1, 2, 1, 8, clusters=2)
    rows = [row(number, photos[number % 2], digest="ab"[number % 2] * 32) for number in range(5)]
    return write_set(tmp_path / "set", rows, (1, 8))


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert cli.main(["duplicates", *words]) == 0
    return capsys.readouterr()


def test_a_table_and_a_report(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}
    html = tmp_path / "duplicates.html"
    text = said([out, "--html", str(html), "--no-cache"], capsys).out
    assert text.startswith("5 photos: 3 are near-duplicates (0.98) of another, in 2 groups")
    assert "Group 1: 3 photos" in html.read_text(encoding="utf-8")
    assert {path: path.read_bytes() for path in Path(out).rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("words", [[], ["--bytes"]])
def test_programs_get_json_and_csv(
    words: list[str], out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = json.loads(said([out, "--json", *words], capsys).out)
    assert [len(group) for group in read["groups"]] == [3, 2]
    lines = csv.DictReader(io.StringIO(said([out, "--format", "csv", *words], capsys).out))
    assert len(list(lines)) == 5
    file = tmp_path / "found.csv"
    assert said([out, "--format", "csv", "--output", str(file), *words], capsys).out == f"report: {file}\n"
    assert file.read_text(encoding="utf-8").count("\n") == 6


def test_several_sets_are_compared_with_each_other(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = similar_photos(1, 2, 1, 8, clusters=2)
    other = write_set(tmp_path / "other", [row(9, photos[0])], (1, 8), files=1)
    text = said([out, other], capsys).out
    assert "group 1: 4 photos" in text
    assert f"{other}: 0009.jpg" in text


def test_a_dry_run_says_how_long_it_takes(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said([out, "--dry-run"], capsys).out
    assert text.startswith("5 photos, 10 pairs: about 0:00 to compare")
    assert "GB of memory" in text
    assert not (Path(out) / "search").exists()
    assert "digests" in said([out, "--dry-run", "--bytes"], capsys).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "0"], "--threshold"),
        (["--threshold", "1.5"], "--threshold"),
        (["--bytes", "--compare", "all"], "--bytes compares no vectors"),
        (["--json", "--format", "csv"], "are two formats"),
        (["--compare", "index"], "has no approximate index"),
        (["--output", "/no/such/folder/out.csv"], "/no/such/folder"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["duplicates", out, *words]) == 2
    assert message in capsys.readouterr().err


def test_sets_of_other_encoders_are_refused(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_set(tmp_path / "other", [row(9, similar_photos(1, 1, 1, 8)[0])], (1, 8), files=1)
    manifest(other, vectors=1, dim=8, encoder={"name": "internvl"})
    assert cli.main(["duplicates", out, other]) == 2
    assert "internvl" in capsys.readouterr().err
    assert cli.main(["duplicates", out, other, "--bytes"]) == 0
