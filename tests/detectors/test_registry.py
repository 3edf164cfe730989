"""Choosing a detector: which options go together, and what is refused before anything is opened."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.detectors import DetectorConfig, check_detector, check_packages, list_detectors, load_detector
from pipeline.detectors.annotated import AnnotatedBoxes
from pipeline.detectors.no_detector import NoDetector
from pipeline.errors import QpertError


def test_none_finds_nothing_but_knows_the_sizes() -> None:
    detector = load_detector(DetectorConfig(model="none"))
    assert isinstance(detector, NoDetector)
    found = detector.detect(["a", "b"], [Image.new("RGB", (30, 20)), Image.new("RGB", (5, 7))])
    assert [len(objects) for objects in found] == [0, 0]
    assert [objects.size for objects in found] == [(30, 20), (5, 7)]


def test_annotated_needs_its_folder_and_nothing_else_takes_one(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match="needs a folder"):
        load_detector(DetectorConfig(model="annotated"))
    with pytest.raises(QpertError, match="no annotations in"):
        load_detector(DetectorConfig(model="annotated", annotations=str(tmp_path)))
    with pytest.raises(QpertError, match="not for 'none'"):
        load_detector(DetectorConfig(model="none", annotations=str(tmp_path)))
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "1.xml").write_text("<annotation/>")
    with pytest.raises(QpertError, match="classes"):
        load_detector(DetectorConfig(model="annotated", annotations=str(tmp_path), classes=("man",)))
    assert isinstance(load_detector(DetectorConfig(model="annotated", annotations=str(tmp_path))), AnnotatedBoxes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 1.5},
        {"confidence": -0.1},
        {"max_objects": 0},
        {"image_size": 8},
        {"classes": ()},
        {"model": ""},
        {"treshold": 0.5},
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DetectorConfig.model_validate(wrong)


def test_names_are_listed() -> None:
    assert {"miniature", "annotated", "none"} <= set(list_detectors())


def test_a_check_finds_what_loading_would_complain_about(tmp_path: Path) -> None:
    for wrong in (
        DetectorConfig(model="annotated"),
        DetectorConfig(model="annotated", annotations=str(tmp_path)),
        DetectorConfig(model="none", annotations=str(tmp_path)),
        DetectorConfig(model="none", classes=("man",)),
        DetectorConfig(model=str(tmp_path / "missing.pt")),
        DetectorConfig(classes=("no such class",)),
    ):
        with pytest.raises(QpertError) as checked:
            check_detector(wrong)
        with pytest.raises(QpertError) as loaded:
            load_detector(wrong)
        assert str(checked.value) == str(loaded.value)
    check_detector(DetectorConfig())
    check_detector(DetectorConfig(model="none"))


@pytest.mark.parametrize(
    ("hidden", "model", "named", "command"),
    [
        (["ultralytics"], "miniature", "ultralytics", "'qpert[yolo]'"),
        (["ultralytics"], "yolo11n.pt", "ultralytics", "'qpert[yolo]'"),
        (["onnxruntime"], "mine.onnx", "onnxruntime", "'qpert[onnx]'"),
        (["ultralytics", "onnxruntime"], "mine.ONNX", "ultralytics and onnxruntime", "'qpert[yolo,onnx]'"),
    ],
)
def test_a_model_without_its_packages_is_refused_with_the_command_that_installs_them(
    hidden: list[str], model: str, named: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in hidden:
        monkeypatch.setitem(sys.modules, package, None)
    for check in (check_packages, check_detector, load_detector):
        with pytest.raises(QpertError) as refused:
            check(DetectorConfig(model=model))
        said = (
            f"detector {model!r} needs {named}: pip install {command}, or choose --detector hf:MODEL, annotated or none"
        )
        assert str(refused.value) == said


def test_queries_need_textblob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queries.txt").write_text("a dog")
    monkeypatch.setitem(sys.modules, "textblob", None)
    config = DetectorConfig(model="hf:org/name", classes_from_queries=str(tmp_path / "queries.txt"))
    with pytest.raises(QpertError, match=r"--classes-from-queries needs textblob: pip install 'qpert\[queries\]'"):
        check_packages(config)
    with pytest.raises(QpertError, match="--classes-from-queries needs textblob"):
        load_detector(config)


def test_other_detectors_need_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ultralytics", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    check_detector(DetectorConfig(model="none"))
    check_packages(DetectorConfig(model="annotated"))
    check_packages(DetectorConfig(model="hf:org/name"))
    assert isinstance(load_detector("none"), NoDetector)
