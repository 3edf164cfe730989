"""Training the miniature YOLO (a small model of ultralytics' own classes, by its trainer) on synthetic scenes on a CPU.

The detector learns all objects of a scene, whatever their size, labelled by their shape. It starts from random weights
(no download), and the scenes are varied enough without augmentation.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torchvision.ops import box_iou

from pipeline.datasets.scenes import SCENE_SIZE, SHAPES, Scene, distinct_scenes, draw_scene
from pipeline.detectors import DetectorConfig
from pipeline.detectors.yolo import YoloDetector, import_ultralytics
from pipeline.miniature.training import print_line

ARCHITECTURE = Path(__file__).with_name("yolo.yaml")
HELD_OUT_SEED = 1
"""Series of the `balanced` scenes that are kept for evaluation."""
SIZES = (0.0, 0.01, 0.05, 0.2, 0.5, 1.01)
"""Limits of the object sizes (fraction of the picture) by which recall is reported."""


@dataclass(frozen=True)
class YoloSchedule:
    """How long and how fast; the defaults are those of the bundled weights."""

    scenes: int = 12000
    epochs: int = 3
    batch: int = 16
    learning_rate: float = 1.5e-3
    seed: int = 7
    threads: int = 1
    held_out: int = 1000


def train_yolo(
    out: Path, schedule: YoloSchedule, command: str, report: Callable[[str], None] = print_line
) -> dict[str, float]:
    """Train and write `out/yolo.pt` (half precision, no optimizer, no paths) and `out/yolo_training.json`.

    Args:
        out: folder of the two files.
        schedule: seeds, data and steps.
        command: the command line that repeats the training, for the log.
        report: called with one line after each epoch.

    Returns:
        `map50` and `map50_95` on `schedule.held_out` distinct `balanced` scenes, with the precision and the recall at
        the confidence that the pipeline uses.
    """
    yolo = import_ultralytics().YOLO
    curve: list[dict[str, float]] = []

    def record(trainer: Any) -> None:
        point = {"epoch": trainer.epoch + 1, "steps": (trainer.epoch + 1) * len(trainer.train_loader)}
        losses = trainer.label_loss_items(trainer.tloss)
        point |= {name.split("/")[-1]: round(float(value), 4) for name, value in losses.items()}
        for key, name in (("metrics/mAP50(B)", "map50"), ("metrics/mAP50-95(B)", "map50_95")):
            point[name] = round(float(trainer.metrics.get(key, 0.0)), 4)
        if len(curve) == schedule.epochs:
            return  # the trainer calls back once more, after its final validation
        curve.append(point)
        report(json.dumps(point))

    def one_thread(trainer: Any) -> None:
        torch.set_num_threads(schedule.threads)  # ultralytics sets its own number when it selects the CPU

    with tempfile.TemporaryDirectory(prefix="qpert-yolo-") as folder:
        data = _write_data(Path(folder), schedule)
        model = yolo(str(ARCHITECTURE), task="detect")
        model.add_callback("on_train_start", one_thread)
        model.add_callback("on_fit_epoch_end", record)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*get_trial_id")  # ultralytics asks for a running Ray Tune
            model.train(data=str(data), project=folder, name="run", **_training_options(schedule))
        out.mkdir(parents=True, exist_ok=True)
        _export(Path(folder) / "run" / "weights" / "last.pt", out / "yolo.pt")
        metrics = yolo(str(out / "yolo.pt"), task="detect").val(
            data=str(data), split="test", project=folder, name="val", **_VALIDATION
        )
    result = {"map50": round(float(metrics.box.map50), 4), "map50_95": round(float(metrics.box.map), 4)}
    by_size = measure(out / "yolo.pt", distinct_scenes(schedule.held_out, HELD_OUT_SEED))
    result |= {"precision": by_size.pop("precision"), "recall": by_size.pop("recall")}
    held_out = {"profile": "balanced", "seed": HELD_OUT_SEED, "scenes": schedule.held_out, **result}
    log = {
        "command": command,
        "schedule": asdict(schedule),
        "held_out": {**held_out, "recall_by_object_size": by_size},
        "curve": curve,
    }
    (out / "yolo_training.json").write_text(json.dumps(log, indent=1) + "\n")
    return result


_QUIET: dict[str, Any] = {"device": "cpu", "imgsz": SCENE_SIZE, "workers": 0, "plots": False, "verbose": False}
_VALIDATION: dict[str, Any] = {**_QUIET, "batch": 32, "rect": False}


def _training_options(schedule: YoloSchedule) -> dict[str, Any]:
    no_augmentation = dict.fromkeys(
        ("hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "mosaic", "erasing", "close_mosaic"), 0
    )
    return {
        **_QUIET,
        **no_augmentation,
        "epochs": schedule.epochs,
        "batch": schedule.batch,
        "nbs": schedule.batch,
        "optimizer": "AdamW",
        "lr0": schedule.learning_rate,
        "lrf": 0.01,
        "cos_lr": True,
        "warmup_epochs": 0.5,
        "warmup_bias_lr": 0.0,
        "weight_decay": 0.01,
        "seed": schedule.seed,
        "deterministic": True,
        "pretrained": False,
        "amp": False,
        "exist_ok": True,
    }


def _write_data(folder: Path, schedule: YoloSchedule) -> Path:
    """Write the scenes in ultralytics' own layout and return the path of its `data.yaml`."""
    half = schedule.scenes // 2
    parts: dict[str, list[Iterable[Scene]]] = {
        "train": [distinct_scenes(half, schedule.seed, "balanced"), distinct_scenes(half, schedule.seed, "natural")],
        "val": [distinct_scenes(min(300, schedule.held_out), schedule.seed + 1, "balanced")],
        "test": [distinct_scenes(schedule.held_out, HELD_OUT_SEED, "balanced")],
    }
    for part, series in parts.items():
        images, labels = folder / "images" / part, folder / "labels" / part
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number, scene in enumerate(scene for scenes in series for scene in scenes):
            draw_scene(scene).save(images / f"{number:06d}.jpg", quality=92)
            (labels / f"{number:06d}.txt").write_text("".join(_label_lines(scene)))
    names = "".join(f"  {i}: {name}\n" for i, name in enumerate(SHAPES))
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n{names}")
    return data


def _label_lines(scene: Scene) -> Iterator[str]:
    """One line per object: class, centre x, centre y, width, height, as fractions of the picture."""
    for thing in scene.objects:
        x0, y0, x1, y1 = (value / SCENE_SIZE for value in thing.box)
        yield f"{SHAPES.index(thing.shape)} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n"


def _export(trained: Path, target: Path) -> None:
    """Write a checkpoint with only the network in half precision: no optimizer, no paths."""
    yolo = import_ultralytics().YOLO(str(trained), task="detect")
    network = yolo.model
    keep = {"task": "detect", "imgsz": SCENE_SIZE}
    network.args = dict(keep)
    network.yaml = {**network.yaml, "yaml_file": ARCHITECTURE.name}
    network.pt_path = target.name
    for parameter in network.parameters():
        parameter.requires_grad = False
    torch.save({"model": network.half(), "train_args": keep}, target)


def measure(weights: Path, scenes: Iterable[Scene], confidence: float = 0.25) -> dict[str, float]:
    """Precision and recall (right label, IoU of at least 0.5) of the pipeline's detections.

    Returns:
        `precision`, `recall`, and the recall by object size as `0.01-0.05` and so on.
    """
    detector = YoloDetector(DetectorConfig(model=str(weights), confidence=confidence))
    by_size: dict[tuple[float, float], list[bool]] = {pair: [] for pair in pairwise(SIZES)}
    right = detected = 0
    for scene in scenes:
        (objects,) = detector.detect(["scene"], [draw_scene(scene)])
        detected += len(objects)
        truth = torch.tensor([o.box for o in scene.objects], dtype=torch.float32) / SCENE_SIZE
        overlaps = box_iou(truth, objects.boxes) >= 0.5
        same = torch.tensor([[o.shape == label for label in objects.labels] for o in scene.objects], dtype=torch.bool)
        hits = (overlaps & same.reshape(overlaps.shape)).any(1).tolist()
        right += sum(hits)
        for thing, hit in zip(scene.objects, hits, strict=True):
            by_size[next(pair for pair in by_size if pair[0] <= thing.area < pair[1])].append(hit)
    total = sum(map(len, by_size.values()))
    result = {"precision": round(right / max(1, detected), 4), "recall": round(right / max(1, total), 4)}
    return result | {f"{a:g}-{min(b, 1):g}": round(sum(h) / max(1, len(h)), 4) for (a, b), h in by_size.items()}
