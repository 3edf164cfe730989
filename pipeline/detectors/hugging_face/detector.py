"""Detection with any detector of transformers, of fixed classes or with an open vocabulary.

Each photo is preprocessed alone, and only photos whose inputs have the same shape make a batch. So none is padded to
the size of another, and its boxes are those that the library finds in it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
)
from transformers.utils import logging

from pipeline.detectors.class_names import class_numbers, open_classes
from pipeline.detectors.config import DetectorConfig
from pipeline.detectors.hugging_face.folder import DetectionModel, find_model
from pipeline.detectors.hugging_face.found import objects_of
from pipeline.detectors.hugging_face.grounding import GroundedClasses, check_marks
from pipeline.detectors.hugging_face.vocabularies import FixedClasses, OmDetClasses, OwlQueries, Vocabulary
from pipeline.errors import QpertError, first_line
from pipeline.method.objects import Objects

_OPEN: dict[str, Callable[[Any, Any, Sequence[str]], Vocabulary]] = {
    "grounding-dino": GroundedClasses,
    "mm-grounding-dino": GroundedClasses,
    "omdet-turbo": OmDetClasses,
    "owlv2": OwlQueries,
    "owlvit": OwlQueries,
}
"""Model types with an open vocabulary."""
_ASPECT = 1333 / 800
"""Longest to shortest edge that the processors of DETR allow."""


class HuggingFaceDetector:
    """One detector of transformers on one device, in float32."""

    def __init__(self, config: DetectorConfig, device: str = "cpu") -> None:
        """Opens the model and detects once in an empty picture, so that any problem shows here.

        Args:
            config: `model` is `hf:` and a folder or an id of the hub.
            device: `cpu`, `cuda:0`, ...

        Raises:
            QpertError: see `find_model`; weights that do not fit the model, an image size that it does not take, or
                a missing device.
        """
        found = find_model(config.model)
        assert found is not None  # it would have been downloaded
        wanted = _wanted(found, config)
        self._confidence, self._most, self._device = config.confidence, config.max_objects, device
        self._options: dict[str, Any] = {}
        try:
            with _quiet():
                self._vocabulary, self._processor = _load(found, wanted, device)
            if config.image_size is not None:
                self._options["size"] = _size(self._processor, config.image_size)
            self.detect([""], [Image.new("RGB", (64, 64), "grey")])
        except QpertError:
            raise
        except Exception as error:  # of transformers, torch, safetensors and tokenizers, each their own
            size = f" with images of {config.image_size} pixels" if config.image_size is not None else ""
            raise QpertError(f"cannot use detector {config.model!r} on {device}{size}: {first_line(error)}") from error

    @classmethod
    def load(
        cls, config: DetectorConfig, device: str = "cpu", *, photos: int | None = None, prompts: bytes | None = None
    ) -> HuggingFaceDetector:
        """See `pipeline.detectors.registry.DetectorClass`."""
        return cls(config, device)

    @classmethod
    def check(cls, config: DetectorConfig, *, fetch: bool = True) -> None:
        """See `pipeline.detectors.registry.DetectorClass`."""
        found = find_model(config.model, fetch=fetch)
        if found is not None:
            _wanted(found, config)

    @torch.inference_mode()
    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """The objects of each RGB photo, at most `max_objects`, the most confident first."""
        inputs = [self._prepared(image) for image in images]
        groups: dict[torch.Size, list[int]] = {}
        for row, one in enumerate(inputs):
            groups.setdefault(one["pixel_values"].shape, []).append(row)
        found: dict[int, Objects] = {}
        for rows in groups.values():
            batch = _together([inputs[row] for row in rows], self._device)
            sizes = [images[row].size for row in rows]
            parts = self._vocabulary.find(batch, [(height, width) for width, height in sizes], self._confidence)
            for row, size, part in zip(rows, sizes, parts, strict=True):
                found[row] = objects_of(part, size, self._most)
        return [found[row] for row in range(len(images))]

    def _prepared(self, image: Image.Image) -> Any:
        """The input of one photo: `pixel_values` [1, 3, H, W], and perhaps `pixel_mask` [1, H, W]."""
        try:
            return self._processor(images=[image], return_tensors="pt", **self._options)
        except ValueError as error:  # such as a side of less than a pixel
            size = "{} x {}".format(*image.size)
            raise QpertError(f"{size} pixels cannot be scaled for this detector: {first_line(error)}") from error


def _wanted(found: DetectionModel, config: DetectorConfig) -> Sequence[str] | None:
    """The classes to look for; None for all that the model has.

    Raises:
        QpertError: none are given to an open vocabulary, or a model of fixed classes does not have them.
    """
    if found.open_vocabulary:
        classes = open_classes(config.classes, config.model)
        if _OPEN.get(found.model_type) is GroundedClasses:
            check_marks(classes)
        return classes
    if config.classes is not None and found.names:
        class_numbers(config.classes, found.names)
    return config.classes


def _load(found: DetectionModel, wanted: Sequence[str] | None, device: str) -> tuple[Vocabulary, Any]:
    """The model with its classes, and its image processor."""
    place = {"pretrained_model_name_or_path": str(found.folder), "local_files_only": True, "trust_remote_code": False}
    kind = AutoModelForZeroShotObjectDetection if found.open_vocabulary else AutoModelForObjectDetection
    model, info = kind.from_pretrained(
        **place,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are named below; the library would refer to a report
    )
    wrong = sorted(map(str, [*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]))
    if wrong:
        raise QpertError(
            f"{found.folder} is not a whole {found.model_type}: {len(wrong)} weights are missing or of another shape,"
            f" such as {wrong[0]}"
        )
    model = model.to(device).eval()
    if not found.open_vocabulary:
        processor = AutoImageProcessor.from_pretrained(**place)
        return FixedClasses(model, processor, wanted), processor
    processor = AutoProcessor.from_pretrained(**place)
    if found.model_type not in _OPEN:
        raise QpertError(f"open vocabularies of model type {found.model_type!r} are not supported: {', '.join(_OPEN)}")
    assert wanted is not None
    return _OPEN[found.model_type](model, processor, wanted), processor.image_processor


def _together(inputs: Sequence[Any], device: str) -> dict[str, Tensor]:
    """The inputs of several photos as one batch on the device."""
    names = [name for name in ("pixel_values", "pixel_mask") if name in inputs[0]]
    return {name: torch.cat([one[name] for one in inputs]).to(device) for name in names}


def _size(processor: Any, side: int) -> dict[str, int]:
    """The size of the input in the words of an image processor: squashed, or with the photo's own aspect ratio."""
    if getattr(processor.size, "shortest_edge", None):
        return {"shortest_edge": side, "longest_edge": round(side * _ASPECT)}
    return {"height": side, "width": side}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the progress bar and the hints that transformers shows for each model it loads, in every actor."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
