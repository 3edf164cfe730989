"""Every kind of model finds what transformers' own post-processing finds, in batches as alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
)

from pipeline.detectors import DetectorConfig
from pipeline.detectors.hugging_face.detector import HuggingFaceDetector
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from tests.detectors.hugging_face.tiny_models import FIXED, OPEN, save_tiny

_SLOW = ("d_fine", "rf_detr", "deimv2", "detr", "grounding-dino", "mm-grounding-dino")
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] if kind in _SLOW else []) for kind in (*FIXED, *OPEN)]
CLASSES = ("dog", "red kite")
SIZES = ((90, 60), (64, 64), (40, 120), (90, 60), (7, 5))
"""(width, height) of the photos; the last but one is dark."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {kind: save_tiny(kind, root / kind) for kind in (*FIXED, *OPEN)}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    generator = torch.Generator().manual_seed(1)
    noise = (torch.rand(height, width, 3, generator=generator) for width, height in SIZES)
    bright = (255, 255, 255, 40, 255)
    return [Image.fromarray((most * part).byte().numpy()) for part, most in zip(noise, bright, strict=True)]


def detector(folder: Path, **options: Any) -> HuggingFaceDetector:
    if folder.name in OPEN:
        options = {"classes": CLASSES, **options}
    return HuggingFaceDetector(
        DetectorConfig(model=f"hf:{folder}", **{"confidence": 0.0, "max_objects": 300, **options})
    )


def of_the_library(
    folder: Path, images: Sequence[Image.Image]
) -> Iterator[tuple[torch.Tensor, list[str], torch.Tensor]]:
    """Boxes in pixels, labels and scores, as the documentation of transformers has it, for each photo alone."""
    fixed = folder.name in FIXED
    processor = (AutoImageProcessor if fixed else AutoProcessor).from_pretrained(folder)
    kind = AutoModelForObjectDetection if fixed else AutoModelForZeroShotObjectDetection
    model = kind.from_pretrained(folder).eval()
    for image in images:
        options: dict[str, Any] = {"threshold": 0.0, "target_sizes": [(image.height, image.width)]}
        with torch.no_grad():
            if fixed:
                outputs = model(**processor(images=image, return_tensors="pt"))
                (result,) = processor.post_process_object_detection(outputs, **options)
                labels = [model.config.id2label[int(number)] for number in result["labels"]]
            else:
                outputs = model(**processor(images=image, text=[list(CLASSES)], return_tensors="pt"))
                options["text_labels"] = [list(CLASSES)]
                (result,) = processor.post_process_grounded_object_detection(outputs, **options)
                labels = result["text_labels"]
        yield result["boxes"], labels, result["scores"]


def assert_the_same(
    objects: Objects, boxes: torch.Tensor, labels: Sequence[str] | None, scores: torch.Tensor, size: tuple[int, int]
) -> None:
    """Compares without regard to order, as equal scores have none."""
    edges = torch.tensor([*size, *size])
    boxes = (boxes / edges).clamp(0, 1)
    kept = ((boxes[:, 2:] > boxes[:, :2]).all(1)).nonzero()[:, 0]
    assert len(objects) == len(kept) > 0
    expected = sorted((*boxes[k].tolist(), scores[k].item(), "" if labels is None else labels[k]) for k in kept)
    names = [""] * len(objects) if labels is None else objects.labels
    rows = zip(objects.boxes.tolist(), objects.scores.tolist(), names, strict=True)
    for found, row in zip(sorted((*box, score, name) for box, score, name in rows), expected, strict=True):
        assert found[:5] == pytest.approx(row[:5], abs=1e-4)
        assert found[5] == row[5]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_the_objects_of_the_library(kind: str, tiny: dict[str, Path], photos: list[Image.Image]) -> None:
    """Of each photo alone, though the batch holds photos of other shapes."""
    found = detector(tiny[kind]).detect([""] * len(photos), photos)
    expected = of_the_library(tiny[kind], photos)
    for image, objects, (boxes, labels, scores) in zip(photos, found, expected, strict=True):
        assert objects.size == image.size
        assert objects.scores.tolist() == sorted(objects.scores.tolist(), reverse=True)
        # Grounding DINO's own labels are pieces of its text, which need not be a class.
        assert_the_same(objects, boxes, None if "grounding" in kind else labels, scores, image.size)
        if kind in OPEN:
            assert {*objects.labels} <= {*CLASSES}
    first, dark = found[0], found[3]  # of the same size, and not the same: the model does look at them
    rows = min(len(first), len(dark))
    assert (first.boxes[:rows] - dark.boxes[:rows]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["lw_detr", "owlv2"])
def test_confidence_and_number_select(kind: str, tiny: dict[str, Path], photos: list[Image.Image]) -> None:
    everything = detector(tiny[kind]).detect([""], photos[:1])[0]
    limit = everything.scores[3].item() - 1e-7
    (sure,) = detector(tiny[kind], confidence=limit).detect([""], photos[:1])
    assert 0 < len(sure) < len(everything)
    assert bool((sure.scores > limit).all())
    (few,) = detector(tiny[kind], max_objects=2).detect([""], photos[:1])
    torch.testing.assert_close(few.boxes, everything.boxes[:2])


def test_classes_of_a_model_of_fixed_classes(tiny: dict[str, Path], photos: list[Image.Image]) -> None:
    everything = detector(tiny["lw_detr"]).detect([""] * 2, photos[:2])
    kites = detector(tiny["lw_detr"], classes=("red kite",)).detect([""] * 2, photos[:2])
    for photo, kept in zip(everything, kites, strict=True):
        rows = [row for row, label in enumerate(photo.labels) if label == "red kite"]
        assert 0 < len(rows) < len(photo)
        torch.testing.assert_close(kept.boxes, photo.boxes[rows])
        assert kept.labels == ("red kite",) * len(rows)
    wrong = DetectorConfig(model=f"hf:{tiny['lw_detr']}", classes=("red kit",))
    for check in (HuggingFaceDetector.check, HuggingFaceDetector.load):
        with pytest.raises(QpertError, match=r"no class 'red kit'; near: red kite \(of 3\)"):
            check(wrong)


def test_an_image_size_that_the_model_takes_or_refuses(tiny: dict[str, Path], photos: list[Image.Image]) -> None:
    small = detector(tiny["rt_detr_v2"], image_size=96)
    shapes: list[tuple[int, ...]] = []
    small._vocabulary._model.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda _, __, inputs: shapes.append(tuple(inputs["pixel_values"].shape)), with_kwargs=True
    )
    assert len(small.detect([""], photos[:1])[0])
    assert shapes == [(1, 3, 96, 96)]
    detr = detector(tiny["detr"], image_size=32)
    assert tuple(detr._processor(images=[photos[0]], return_tensors="pt", **detr._options)["pixel_values"].shape) == (
        1, 3, 32, 48,
    )  # fmt: skip
    with pytest.raises(QpertError, match=r"cannot use detector .* with images of 96 pixels"):
        detector(tiny["owlv2"], image_size=96)


def test_embedded_classes_are_kept(tiny: dict[str, Path], photos: list[Image.Image]) -> None:
    """OmDet-Turbo forgets what is beyond the number in its configuration, here two."""
    many = ("dog", "kite", "person", "photo")
    model = detector(tiny["omdet-turbo"], classes=many)
    vocabulary: Any = model._vocabulary
    read: list[int] = []
    texts = vocabulary._model.language_backbone.model
    texts.register_forward_pre_hook(lambda *_: read.append(1))
    model.detect([""] * 2, photos[:2])
    assert read == []
    owl = detector(tiny["owlv2"])
    vocabulary = owl._vocabulary
    vocabulary._model.owlv2.text_model.register_forward_pre_hook(lambda *_: read.append(1))
    assert len(owl.detect([""], photos[:1])[0])
    assert read == []


def test_a_photo_that_cannot_be_scaled(tiny: dict[str, Path]) -> None:
    """With its aspect ratio it would be less than a pixel wide."""
    model = detector(tiny["detr"])
    with pytest.raises(QpertError, match="1 x 2000 pixels cannot be scaled for this detector"):
        model.detect([""], [Image.new("RGB", (1, 2000))])
    assert len(model.detect([""], [Image.new("RGB", (1, 1))])[0])


def test_no_photos(tiny: dict[str, Path]) -> None:
    assert detector(tiny["lw_detr"]).detect([], []) == []


def test_a_missing_device_is_reported(tiny: dict[str, Path]) -> None:
    with pytest.raises(QpertError, match="on cuda:99"):
        HuggingFaceDetector(DetectorConfig(model=f"hf:{tiny['lw_detr']}"), "cuda:99")
