"""Training the miniature YOLO: a few steps, and the contents of the checkpoint."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch

from pipeline.datasets.scenes import SHAPES, distinct_scenes, draw_scene
from pipeline.detectors import DetectorConfig
from pipeline.detectors.yolo import MINIATURE, YoloDetector, import_ultralytics
from pipeline.miniature.train_yolo import HELD_OUT_SEED, YoloSchedule, measure, train_yolo

BUNDLED_LOG = MINIATURE.with_name("yolo_training.json")


@pytest.mark.slow
def test_training_runs_and_writes_its_files(tmp_path: Path) -> None:
    lines: list[str] = []
    schedule = YoloSchedule(scenes=16, epochs=2, batch=8, held_out=8)
    result = train_yolo(tmp_path / "models", schedule, "the command", lines.append)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["yolo.pt", "yolo_training.json"]
    log = json.loads((tmp_path / "models" / "yolo_training.json").read_text())
    assert log["command"] == "the command"
    assert [point["steps"] for point in log["curve"]] == [2, 4]
    assert [json.loads(line) for line in lines] == log["curve"]
    assert {"map50", "map50_95", "precision", "recall"} == set(result)
    assert log["held_out"]["map50"] == result["map50"]
    detector = YoloDetector(DetectorConfig(model=str(tmp_path / "models" / "yolo.pt"), confidence=0.0001))
    assert tuple(detector.names.values()) == SHAPES
    assert len(detector.detect(["scene"], [draw_scene(next(distinct_scenes(1, 5)))])[0]) == 10
    assert not list(Path(tempfile.gettempdir()).glob("qpert-yolo-*/run"))


def test_the_bundled_checkpoint_holds_half_precision_weights_and_no_folders() -> None:
    assert MINIATURE.stat().st_size < 8_000_000
    with zipfile.ZipFile(MINIATURE) as archive:
        pickle = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    for private in (b"/work", b"/home", b"/root", b"/tmp", b"optimizer", b"save_dir"):
        assert private not in pickle
    checkpoint = import_ultralytics().nn.tasks.torch_safe_load(str(MINIATURE))[0]
    assert set(checkpoint) == {"model", "train_args"}
    weights = checkpoint["model"].state_dict().values()
    assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float16}


def test_the_bundled_log_describes_the_bundled_weights() -> None:
    """The log's figures, measured again on some of the held-out scenes."""
    held_out = json.loads(BUNDLED_LOG.read_text())["held_out"]
    assert held_out["seed"] == HELD_OUT_SEED
    assert held_out["map50"] > 0.9
    again = measure(MINIATURE, distinct_scenes(60, HELD_OUT_SEED))
    assert again["recall"] == pytest.approx(held_out["recall"], abs=0.06)
    assert again["precision"] == pytest.approx(held_out["precision"], abs=0.06)


def test_training_leaves_no_deterministic_mode_behind() -> None:
    assert not torch.are_deterministic_algorithms_enabled()
