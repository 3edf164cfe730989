"""`qpert benchmark`: which parts are measured, and the figures of the evaluation."""

from __future__ import annotations

import json

import pytest

from jobs import benchmark
from jobs.cli import main
from jobs.cli.parsing import parse

SMALL = ["--evaluation.images", "40", "--evaluation.texts", "80", "--evaluation.vectors", "2", "--evaluation.dim", "8"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["pipeline", "query-former"]),
        (["evaluate"], ["evaluate"]),
        (["blip2", "--blip2.repetitions", "1"], ["blip2"]),
        (["query-former", "--source", "photos/", "evaluate"], ["query-former", "evaluate"]),
    ],
)
def test_parts_may_stand_anywhere(words, parts):
    config = parse(benchmark.Config, words, verb="benchmark")
    assert config.parts == parts
    assert config.source == ("photos/" if "--source" in words else None)


def test_an_unknown_part_is_refused(capsys):
    assert main(["benchmark", "photos/"]) == 2
    said = capsys.readouterr().err
    parts = (
        "'pipeline', 'start', 'query-former', 'blip2', 'internvl', 'open-clip', 'gpu', 'rivals', 'tune', 'graph',"
        " 'far', 'evaluate' or 'search'"
    )
    assert f"PARTS: Input should be {parts}, not 'photos/'" in said


def test_only_the_chosen_parts_are_measured(monkeypatch):
    ran = []
    monkeypatch.setattr(benchmark, "_pipeline", lambda config, folder: ran.append("pipeline"))
    monkeypatch.setattr(benchmark, "_query_former", lambda config, folder: ran.append("query-former"))
    monkeypatch.setattr(benchmark, "_blip2", lambda config, folder: ran.append("blip2"))
    monkeypatch.setattr(benchmark, "_evaluate", lambda config, folder: ran.append("evaluate"))
    assert main(["benchmark"]) == main(["benchmark", "evaluate"]) == main(["benchmark", "query-former"]) == 0
    assert ran == ["pipeline", "query-former", "evaluate", "query-former"]
    monkeypatch.setattr(benchmark, "_internvl", lambda config, folder: ran.append("internvl"))
    monkeypatch.setattr(benchmark, "_tune", lambda config, folder: ran.append("tune"))
    assert main(["benchmark", "blip2"]) == main(["benchmark", "internvl"]) == main(["benchmark", "tune"]) == 0
    assert ran[4:] == ["blip2", "internvl", "tune"]


@pytest.mark.slow
def test_evaluate_prints_and_writes_all_ways(tmp_path, capsys):
    figures = tmp_path / "figures.json"
    assert main(["benchmark", "evaluate", "--cpus", "1", "--json", str(figures), *SMALL]) == 0
    text = capsys.readouterr().out
    assert "40 photos x 80 captions, 2 vectors of 8 per photo, 1 threads" in text
    assert [line.split("  ")[1] for line in text.splitlines()[1:]] == [
        "matrix product",
        "matrix product",
        "qpert evaluate",
        "argsort",
    ]
    assert "lack of memory" not in text
    saved = json.loads(figures.read_text())["evaluate"]
    assert saved["ranking"]["t2i"] == pytest.approx(saved["argsort"]["t2i"])
    assert saved["ratio"] > 0
