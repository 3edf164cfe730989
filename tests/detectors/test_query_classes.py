"""The nouns of queries: which words count, which are left out, and what is said when there are none or too many."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from pipeline.detectors import DetectorConfig, with_query_classes
from pipeline.detectors import query_classes as module
from pipeline.errors import QpertError
from pipeline.runs.index_plan import IndexPlan
from pipeline.runs.spec import IndexSpec

pytest.importorskip("textblob")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a red kite over the beach", ["kite", "beach"]),
        ("Two DOGS and a bus", ["dog", "bus"]),
        ("a traffic light next to a fire hydrant", ["traffic light", "fire hydrant"]),
        ("people riding bikes", ["person", "bike"]),
        ("dogs", ["dog"]),
        ("t-shirt", ["t-shirt"]),
        ("a photo of the left side of something", []),
        ("a squirrel nibbles a nut", ["squirrel", "nut"]),
        ("a kitten with long white whiskers stares at the grass", ["kitten", "whisker", "grass"]),
        ("men in clothes", ["man", "clothes"]),
        ("42 !", []),
    ],
)
def test_nouns_of_a_query(query: str, expected: list[str]) -> None:
    assert list(module.nouns(query)) == expected


def test_classes_of_a_file_with_a_query_per_line(tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("\ufeffa red kite\n\n  two dogs \na dog with a kite\n", encoding="utf-8")
    config = DetectorConfig(classes_from_queries=str(tmp_path / "queries.txt"))
    assert with_query_classes(config) == DetectorConfig(classes=("dog", "kite"))
    named = config.model_copy(update={"classes": ("red kite", "dog")})
    assert with_query_classes(named).classes == ("dog", "kite", "red kite")
    assert with_query_classes(DetectorConfig(classes=("b", "a"))).classes == ("b", "a")


def test_classes_of_a_captions_file(tmp_path: Path) -> None:
    captions = [{"image": "a.jpg", "caption": ["a cat", "a cat on a sofa"]}, {"image": "b.jpg", "caption": ["horses"]}]
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    config = DetectorConfig(classes_from_queries=str(tmp_path / "captions.json"))
    assert with_query_classes(config).classes == ("cat", "horse", "sofa")


def test_of_too_many_those_that_most_queries_name_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    (tmp_path / "queries.txt").write_text("a dog and a cat\na cat and a bus\na dog on a bus\ndogs\na horse\na bus")
    with caplog.at_level(logging.WARNING):
        config = with_query_classes(DetectorConfig(classes_from_queries=str(tmp_path / "queries.txt")))
    assert config.classes == ("bus", "dog")
    assert "the queries name 4 things; the 2 that most of them name are looked for, without cat" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no query"),
        (b"42\n!", "no nouns were found"),
        (b"\xff\xfe\xff", "cannot read --classes-from-queries"),
    ],
)
def test_files_without_queries(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_bytes(content)
    with pytest.raises(QpertError, match=said):
        with_query_classes(DetectorConfig(classes_from_queries=str(tmp_path / "queries.txt")))
    with pytest.raises(QpertError, match="cannot read --classes-from-queries"):
        with_query_classes(DetectorConfig(classes_from_queries=str(tmp_path / "gone.txt")))


def test_features_are_identified_by_the_classes_and_not_by_the_file(tmp_path: Path, make_photos: object) -> None:
    make_photos(tmp_path / "photos", 1)  # type: ignore[operator]
    identities = []
    for name, text in (("one", "a star\na circle"), ("two", "circles and stars\n")):
        (tmp_path / name).write_text(text)
        detector = DetectorConfig(classes_from_queries=str(tmp_path / name))
        spec = IndexSpec(source=str(tmp_path / "photos"), out=str(tmp_path / "out"), detector=detector)
        plan = IndexPlan.of(spec, fetch=False)
        assert plan.spec.detector.classes == ("circle", "star")
        identities.append(plan.identity)
    assert identities[0] == identities[1]
    assert identities[0]["detector"]["classes"] == ["circle", "star"]
    assert "classes_from_queries" not in identities[0]["detector"]


def test_words_that_no_detector_takes_are_left_out(tmp_path: Path) -> None:
    """Such as an address or a digest among the queries."""
    path = tmp_path / "queries.txt"
    path.write_text("a dog\n" + "a" * 101 + "\n" + "b" * 100)
    assert with_query_classes(DetectorConfig(classes_from_queries=str(path))).classes == ("b" * 100, "dog")


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST", 2 * 1024**2)
    with pytest.raises(QpertError, match="/dev/zero has more than 2 MB"):
        module.read_queries(Path("/dev/zero"))
