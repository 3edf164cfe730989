"""YOLO-World and YOLOE find what they are told to look for, by embeddings made once.

Their text encoders are not here: most tests have given embeddings in place of theirs.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.detectors import DetectorConfig, check_detector, embed_prompts, load_detector
from pipeline.detectors.yolo import YoloDetector, import_ultralytics
from pipeline.errors import QpertError

CLASSES = ("red kite", "dog")
IN_ORDER = ["dog", "red kite"]
MODELS = {"world": "yolov8n-world.yaml", "yoloe": "yoloe-26n.yaml"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("open")
    for name, architecture in MODELS.items():
        torch.manual_seed(0)
        model = import_ultralytics().YOLO(architecture)
        with torch.no_grad():
            for weight in model.model.parameters():  # as made, all scores would be equal
                weight.add_(0.1 * torch.randn_like(weight))
        model.save(str(folder / f"{name}.pt"))
    return {name: folder / f"{name}.pt" for name in MODELS}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray[Any, Any]:
    vectors = np.random.default_rng(0).normal(size=(2, 512)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


@pytest.fixture
def embeds(monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray[Any, Any]) -> list[list[str]]:
    """Has the text encoders return `vectors`; the texts they were asked for."""
    asked: list[list[str]] = []

    def encode(self: Any, texts: list[str], *_: Any, **__: Any) -> torch.Tensor:
        asked.append(list(texts))
        return torch.from_numpy(vectors[: len(texts)])[None]

    tasks = import_ultralytics().nn.tasks
    for kind in (tasks.WorldModel, tasks.YOLOEModel):
        monkeypatch.setattr(kind, "get_text_pe", encode)
    return asked


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    generator = torch.Generator().manual_seed(1)
    return [
        Image.fromarray(torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8).numpy())
        for width, height in ((90, 60), (64, 64), (40, 70))
    ]


@pytest.mark.parametrize("name", MODELS)
def test_the_embeddings_of_the_driver_give_the_boxes_of_set_classes(
    name: str,
    weights: dict[str, Path],
    vectors: np.ndarray[Any, Any],
    embeds: list[list[str]],
    photos: list[Image.Image],
) -> None:
    """Compared with ultralytics' own `set_classes` and `predict`."""
    config = DetectorConfig(model=str(weights[name]), classes=CLASSES, confidence=1e-5, image_size=64, max_objects=50)
    prompts = embed_prompts(config)
    assert embeds == [IN_ORDER]
    found = load_detector(config, prompts=prompts).detect([""] * len(photos), photos)
    assert len(embeds) == 1  # the actor did not embed them again
    own = import_ultralytics().YOLO(str(weights[name]))
    if name == "world":
        own.set_classes(IN_ORDER)
    else:
        own.set_classes(IN_ORDER, torch.from_numpy(vectors)[None])
    for photo, objects in zip(photos, found, strict=True):
        (result,) = own.predict([photo], conf=1e-5, max_det=50, imgsz=64, rect=False, verbose=False, device="cpu")
        rows = torch.cat([result.boxes.xyxyn.clamp(0, 1), result.boxes.data[:, 4:]], 1)  # box, confidence, class
        rows = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]
        assert len(objects) == len(rows) > 0
        numbers = torch.tensor([IN_ORDER.index(label) for label in objects.labels])
        ours = torch.cat([objects.boxes, objects.scores[:, None], numbers[:, None]], 1)
        apart = (ours[:, None] - rows[None]).abs().amax(-1)  # equal confidences have no order
        assert max(apart.amin(0).max(), apart.amin(1).max()) < 1e-4


def test_the_shared_embeddings_hold_no_pickle(
    weights: dict[str, Path], embeds: list[list[str]], vectors: np.ndarray[Any, Any]
) -> None:
    prompts = embed_prompts(DetectorConfig(model=str(weights["world"]), classes=CLASSES))
    assert prompts is not None
    with np.load(io.BytesIO(prompts), allow_pickle=False) as file:
        assert file["names"].tolist() == IN_ORDER
        np.testing.assert_array_equal(file["embeddings"], vectors)
    others = DetectorConfig(model=str(weights["world"]), classes=("cat",))
    with pytest.raises(QpertError, match="embeddings of other classes"):
        load_detector(others, prompts=prompts)


def test_a_model_that_was_saved_with_classes_selects_among_them(weights: dict[str, Path]) -> None:
    """Without its text encoder."""
    detector = YoloDetector(DetectorConfig(model=str(weights["world"]), classes=("3", "7"), image_size=64))
    assert detector._options["classes"] == [3, 7]
    assert embed_prompts(DetectorConfig(model=str(weights["world"]), classes=("3",))) is None
    assert embed_prompts(DetectorConfig(model=str(weights["world"]))) is None
    assert embed_prompts(DetectorConfig(classes=("star",))) is None


def test_yoloe_needs_classes(weights: dict[str, Path]) -> None:
    with pytest.raises(QpertError, match="finds what it is told to look for: name it with --classes"):
        load_detector(str(weights["yoloe"]))


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_text_encoder(name: str, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("clip", "ultralytics.nn.text_model"):
        monkeypatch.setitem(sys.modules, module, None)
    config = DetectorConfig(model=str(weights[name]), classes=CLASSES)
    for use in (embed_prompts, check_detector, load_detector):
        with pytest.raises(QpertError, match=r"text encoder of this detector cannot be loaded.*ultralytics/CLIP.*hf:"):
            use(config)
