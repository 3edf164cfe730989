"""Grounding DINO: which class a box is named by, several texts for many classes, and texts that are read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from pipeline.detectors import DetectorConfig, check_detector
from pipeline.detectors.hugging_face.detector import HuggingFaceDetector
from pipeline.errors import QpertError
from tests.detectors.hugging_face.tiny_models import save_tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("grounding-dino", tmp_path_factory.mktemp("grounding") / "grounding-dino")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    generator = torch.Generator().manual_seed(3)
    return Image.fromarray((255 * torch.rand(64, 80, 3, generator=generator)).byte().numpy())


def detector(folder: Path, *classes: str) -> HuggingFaceDetector:
    return HuggingFaceDetector(DetectorConfig(model=f"hf:{folder}", classes=classes, confidence=0.0, max_objects=300))


def test_a_box_is_named_by_the_class_of_the_most_probable_tokens(folder: Path, photo: Image.Image) -> None:
    """Compared with a loop over the tokens of the library's own inputs and outputs."""
    (objects,) = detector(folder, "Dog red", "kite", "photo of").detect([""], [photo])
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    classes = ["Dog red", "kite", "photo of"]
    inputs = processor(images=photo, text=[classes], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    ids = inputs["input_ids"][0].tolist()
    words = {name: processor.tokenizer(name.lower(), add_special_tokens=False)["input_ids"] for name in classes}
    assert [len(tokens) for tokens in words.values()] == [2, 1, 2]
    expected = {}
    for probabilities, box in zip(outputs.logits[0].sigmoid(), outputs.pred_boxes[0], strict=True):
        means = {
            name: sum(probabilities[ids.index(token)].item() for token in tokens) / len(tokens)
            for name, tokens in words.items()
        }
        x, y, w, h = box.tolist()
        corners = torch.tensor([x - w / 2, y - h / 2, x + w / 2, y + h / 2]).clamp(0, 1)
        expected[tuple((corners * 1000).round().int().tolist())] = max(means, key=lambda name: means[name])
    assert len({*expected.values()}) > 1
    for box, label in zip(objects.boxes, objects.labels, strict=True):
        assert expected[tuple((box * 1000).round().int().tolist())] == label


def test_classes_that_do_not_fit_into_one_text_go_into_several(folder: Path, photo: Image.Image) -> None:
    """Of at most 24 tokens each here. Every text finds as many boxes as the model has queries."""
    many = [f"{first} {second} red" for first in ("dog", "kite", "person") for second in ("of", "a")]
    model = detector(folder, *many)
    texts = model._vocabulary._texts  # type: ignore[attr-defined]
    assert [len(text.classes) for text in texts] == [5, 1]
    assert sorted(name for text in texts for name in text.classes) == sorted(many)
    assert all(text.tokens["input_ids"].shape[1] <= 24 for text in texts)
    (objects,) = model.detect([""], [photo])
    assert len(objects) == 40
    assert {*objects.labels} <= {*many}
    (first,) = detector(folder, *texts[1].classes).detect([""], [photo])
    rows = [row for row, label in enumerate(objects.labels) if label == texts[1].classes[0]]
    torch.testing.assert_close(objects.boxes[rows], first.boxes, atol=1e-4, rtol=0)


def test_a_text_is_read_once(folder: Path, photo: Image.Image) -> None:
    model = detector(folder, "dog")
    read: list[tuple[int, ...]] = []
    vocabulary: Any = model._vocabulary
    backbone = vocabulary._model.model.text_backbone.backbone
    backbone.register_forward_pre_hook(lambda _, inputs: read.append(tuple(inputs[0].shape)))
    model.detect(["", ""], [photo, photo])
    assert read == []  # the trial at the start did


def test_a_full_stop_is_refused_before_the_model_is_opened(folder: Path) -> None:
    with pytest.raises(QpertError, match=r"class 'st\. bernard': a full stop or question mark"):
        check_detector(DetectorConfig(model=f"hf:{folder}", classes=("dog", "st. bernard")), fetch=False)


@pytest.mark.parametrize(
    ("name", "said"), [("a dog.", "a full stop or question mark"), ("red " * 24, "more than the 22 tokens")]
)
def test_classes_that_cannot_be_read(name: str, said: str, folder: Path) -> None:
    with pytest.raises(QpertError, match=said):
        detector(folder, "dog", name)
