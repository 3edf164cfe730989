from __future__ import annotations

import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from pipeline.diagnosis import models
from pipeline.diagnosis.models import check_hub, check_models
from pipeline.encoders import registry


def by_name() -> dict[str, models.Finding]:
    return {finding.name: finding for finding in check_models()}


def test_all_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("models--Salesforce--blip2-itm-vit-g", "datasets--a--b"):
        (tmp_path / name).mkdir()
    (tmp_path / "yolo11n.pt").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(models, "DOWNLOADS", tmp_path)
    found = by_name()
    assert {finding.state for finding in found.values()} == {"ok"}
    assert (
        found["encoders"].text == "blip2, coca, internvl, open_clip with miniatures; blip2-lavis, internvl-c, siglip2"
    )
    assert found["downloaded weights of encoders"].text == f"in {tmp_path}: Salesforce/blip2-itm-vit-g"
    assert found["detectors of transformers"].text == "can be used"
    assert found["downloaded detectors"].text == f"in {tmp_path}: yolo11n.pt"


def test_missing_packages_of_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    found = by_name()["detectors"]
    assert (found.state, found.remedy) == ("warning", "pip install 'qpert[yolo]'")
    assert found.text == "cannot be used: detector 'miniature' needs ultralytics"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = by_name()["detectors in .onnx files"]
    assert (found.state, found.remedy) == ("ok", "pip install 'qpert[onnx]'")


def test_missing_miniatures_are_problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "_MINIATURES", tmp_path)
    monkeypatch.setattr(models, "MINIATURE", tmp_path / "yolo.pt")
    found = by_name()
    wrong = {name for name, finding in found.items() if finding.state == "problem"}
    assert wrong == {"blip2", "coca", "internvl", "open_clip", "miniature"}
    assert found["miniature"].remedy == "qpert train-miniature yolo"


def test_a_hub_that_does_not_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)
    finding = check_hub()
    assert (finding.state, finding.text) == ("warning", "does not answer: no route to host")
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    assert check_hub().state == "ok"
