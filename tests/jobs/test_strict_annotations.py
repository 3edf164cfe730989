"""`--strict-annotations` in every command that takes captions or annotations: errors before any work starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.caption import Config as CaptionConfig
from jobs.cli import main
from jobs.cli.parsing import parse
from jobs.evaluate import Config as EvaluateConfig
from jobs.index import Config as IndexConfig
from jobs.plan import Config as PlanConfig
from jobs.reproduce import Config as ReproduceConfig
from jobs.tune import Config as TuneConfig
from pipeline.detectors import DetectorConfig
from pipeline.errors import QpertError
from pipeline.experiments import evaluating
from pipeline.experiments.material import find_material
from pipeline.runs.identity import identity
from pipeline.runs.index_plan import IndexPlan
from tests.datasets.boxes.entity_xml import xml
from tests.datasets.coco_files import instance, instances

WORDS: dict[Any, list[str]] = {
    CaptionConfig: ["photos"],
    EvaluateConfig: ["out", "--captions", "c.json"],
    IndexConfig: ["photos", "--out", "out"],
    PlanConfig: ["photos"],
    ReproduceConfig: [],
    TuneConfig: [],
}
BAD = "the photo b.jpg has 1 boxes that are not finite, inverted, empty or outside their photo"


@pytest.mark.parametrize("model", WORDS)
def test_every_command_has_the_option(model: Any) -> None:
    for words, strict in (([], False), (["--strict-annotations"], True)):
        config = parse(model, [*WORDS[model], *words], verb="x")
        assert config is not None
        assert config.strict_annotations is strict


@pytest.fixture
def boxes(tmp_path: Path) -> str:
    """Boxes of b.jpg and a.jpg, one of them inverted."""
    path = tmp_path / "instances.json"
    images = [{"id": 7, "file_name": "b.jpg", "width": 64, "height": 48}, {"id": 3, "file_name": "a.jpg"}]
    path.write_text(json.dumps(instances(instance([1, 1, 9, 9]), instance([9, 9, -3, 2]), images=images)))
    return str(path)


@pytest.mark.parametrize("verb", ["index", "plan", "caption", "reproduce"])
def test_a_bad_box_ends_commands_with_a_detector(
    boxes: str, tmp_path: Path, make_photos: Any, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "photos", 2)
    out = [] if verb in ("plan", "caption") else ["--out", str(tmp_path / "out")]
    source = [] if verb == "reproduce" else [str(tmp_path / "photos")]
    words = [verb, *source, *out, "--detector", "annotated", "--detector.annotations", boxes, "--strict-annotations"]
    assert main(words) == 2
    assert BAD in capsys.readouterr().err


def test_a_bad_box_or_caption_ends_an_evaluation(
    boxes: str, tmp_path: Path, write_features: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluating, "load_text_encoder", lambda *_, **__: None)
    monkeypatch.setattr(evaluating, "embed_texts", lambda _, texts: np.eye(4, dtype=np.float32)[: len(texts)])
    monkeypatch.setattr(evaluating, "ray_is_there", lambda spec: False)
    out = write_features(np.eye(4)[:2, None], ["a.jpg", "b.jpg"]).root
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\na.jpg,x\nb.jpg,y\nc.jpg\n")
    words = ["evaluate", out, "--captions", str(captions)]
    assert main(words) == 0
    assert "1 entries cannot be read and are left out: line 4 has 1 cells, the header 2" in capsys.readouterr().err
    assert main([*words, "--strict-annotations"]) == 2
    assert "captions.csv: line 4 has 1 cells, the header 2" in capsys.readouterr().err
    captions.write_text("image,caption\na.jpg,x\nb.jpg,y\n")
    assert main([*words, "--strict-annotations"]) == 0
    assert main([*words, "--annotations", boxes]) == 0
    capsys.readouterr()
    assert main([*words, "--annotations", boxes, "--strict-annotations"]) == 2
    assert BAD in capsys.readouterr().err


def test_a_bad_caption_ends_a_search_for_settings(
    tmp_path: Path, make_photos: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "photos", 2)
    rows = [{"filename": f"{n:06d}.jpg", "split": "val", "sentences": [{"raw": "x"}, {"raw": None}]} for n in range(2)]
    (tmp_path / "captions.json").write_text(json.dumps({"images": rows}))
    words = ["tune", "--images", str(tmp_path / "photos"), "--captions", str(tmp_path / "captions.json")]
    words += ["--out", str(tmp_path / "out"), "--detector", "miniature", "--encoder", "coca", "--confirm-split", "none"]
    assert main([*words, "--strict-annotations"]) == 2
    assert "images[0].sentences[1].raw: Input should be a valid string" in capsys.readouterr().err


def test_material_is_read_strictly_or_not(boxes: str, tmp_path: Path, make_photos: Any) -> None:
    make_photos(tmp_path / "photos", 2)
    names = sorted(path.name for path in (tmp_path / "photos").rglob("*.jpg"))
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption\n" + "".join(f"{name},x\n" for name in names))
    Path(boxes).write_text(Path(boxes).read_text().replace("b.jpg", names[0]))
    arguments = tmp_path / "out", str(tmp_path / "photos"), str(captions), boxes, "test"
    assert not find_material(*arguments).strict
    with pytest.raises(QpertError, match="has 1 boxes that are not finite"):
        find_material(*arguments, strict=True)


def test_queries_for_classes_are_read_strictly(
    tmp_path: Path, make_photos: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "photos", 2)
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg"}\n')
    words = ["index", str(tmp_path / "photos"), "--out", str(tmp_path / "out"), "--dry-run"]
    words += ["--classes-from-queries", str(queries), "--strict-annotations"]
    assert main(words) == 2
    assert "line 2 has no caption" in capsys.readouterr().err


def test_features_do_not_depend_on_how_strictly_annotations_are_read(
    tmp_path: Path, make_photos: Callable[..., Any]
) -> None:
    make_photos(tmp_path / "photos", 2)
    (tmp_path / "entities" / "Annotations").mkdir(parents=True)
    (tmp_path / "entities" / "Annotations" / "a.xml").write_text(xml((1, 1, 5, 5)))
    detector = DetectorConfig(model="annotated", annotations=str(tmp_path / "entities"))
    config = IndexConfig(source=str(tmp_path / "photos"), out=str(tmp_path / "out"), detector=detector)
    strict = config.model_copy(update={"strict_annotations": True})
    assert identity(config) == identity(strict)
    assert IndexPlan.of(strict).identity == IndexPlan.of(config).identity
