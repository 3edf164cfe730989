"""How each kind of model is asked, and how its answers become boxes with the names of classes.

All of them return boxes, scores and choices of transformers' own post-processing. What differs is the text: fixed
classes have none; OWL compares photos with embedded texts; OmDet-Turbo keeps embedded texts by itself. For Grounding
DINO, which reads its text together with the photo, see `grounding`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from pipeline.detectors.class_names import class_numbers
from pipeline.detectors.hugging_face.found import Found
from pipeline.errors import QpertError

Sizes = Sequence[tuple[int, int]]
"""(height, width) of each photo of a batch, in pixels."""


class Vocabulary(Protocol):
    """A model together with the classes that it looks for."""

    def find(self, inputs: Mapping[str, Tensor], sizes: Sizes, confidence: float) -> list[list[Found]]:
        """What there is in each photo of a batch, in one or several parts.

        Args:
            inputs: what the image processor made of the photos, on the model's device: `pixel_values` [B, 3, H, W] and
                perhaps `pixel_mask` [B, H, W].
            sizes: of the original photos.
            confidence: least confidence, exclusive as in the library.
        """
        ...


class FixedClasses:
    """A model that was trained for its classes: RF-DETR, D-FINE, RT-DETR, DEIMv2, LW-DETR, DETR, YOLOS, ..."""

    def __init__(self, model: Any, image_processor: Any, wanted: Sequence[str] | None) -> None:
        """Keeps only the classes `wanted`, or all.

        Raises:
            QpertError: the model has no such class.
        """
        self._model, self._processor = model, image_processor
        self._names: dict[int, str] = {int(number): str(name) for number, name in model.config.id2label.items()}
        self._kept = None if wanted is None else {*class_numbers(wanted, self._names)}
        self._takes = {*inspect.signature(model.forward).parameters}

    def find(self, inputs: Mapping[str, Tensor], sizes: Sizes, confidence: float) -> list[list[Found]]:
        """See `Vocabulary`."""
        outputs = self._model(**{name: value for name, value in inputs.items() if name in self._takes})
        results = self._processor.post_process_object_detection(outputs, threshold=confidence, target_sizes=list(sizes))
        return [[self._found(result)] for result in results]

    def _found(self, result: Mapping[str, Any]) -> Found:
        numbers = result["labels"].tolist()
        rows = [row for row, number in enumerate(numbers) if self._kept is None or number in self._kept]
        names = [self._names.get(numbers[row], str(numbers[row])) for row in rows]
        return Found(result["boxes"][rows], names, result["scores"][rows])


class OmDetClasses:
    """OmDet-Turbo, which embeds each class and the task "Detect dog, red kite." once and then remembers them."""

    def __init__(self, model: Any, processor: Any, classes: Sequence[str]) -> None:
        self._model, self._processor, self._classes = model, processor, list(classes)
        texts = processor(images=Image.new("RGB", (64, 64)), text=self._classes, return_tensors="pt")
        self._texts = {name: texts[name].to(model.device) for name in texts if name.startswith(("classes_", "tasks_"))}
        # It would forget classes beyond the number that was configured when it was made.
        model.language_cache_class.capacity = max(model.language_cache_class.capacity, len(self._classes))

    def find(self, inputs: Mapping[str, Tensor], sizes: Sizes, confidence: float) -> list[list[Found]]:
        """See `Vocabulary`."""
        count = len(sizes)
        texts = {name: value.repeat(count, *[1] * (value.ndim - 1)) for name, value in self._texts.items()}
        outputs = self._model(pixel_values=inputs["pixel_values"], **texts)
        results = self._processor.post_process_grounded_object_detection(
            outputs, text_labels=[self._classes] * count, threshold=confidence, target_sizes=list(sizes)
        )
        return [[Found(result["boxes"], result["text_labels"], result["scores"])] for result in results]


class OwlQueries:
    """OWL-ViT and OWLv2, which compare every patch with the embedding of every class; these are made once."""

    def __init__(self, model: Any, processor: Any, classes: Sequence[str]) -> None:
        """Embeds the classes.

        Raises:
            QpertError: a class has more tokens than the model reads.
        """
        self._model, self._processor, self._classes = model, processor, list(classes)
        inputs = processor(text=[self._classes], images=Image.new("RGB", (64, 64)), return_tensors="pt")
        longest = model.config.text_config.max_position_embeddings
        if inputs["input_ids"].shape[1] > longest:
            raise QpertError(f"a class has more than the {longest - 2} tokens that this detector reads; shorten it")
        with torch.inference_mode():
            inputs = inputs.to(model.device)
            texts = model.image_text_embedder(
                input_ids=inputs["input_ids"],
                pixel_values=inputs["pixel_values"],
                attention_mask=inputs["attention_mask"],
            )[0]
        self._queries = texts.reshape(1, len(self._classes), -1)
        self._valid = (inputs["input_ids"][:, 0] > 0)[None]

    def find(self, inputs: Mapping[str, Tensor], sizes: Sizes, confidence: float) -> list[list[Found]]:
        """See `Vocabulary`."""
        count = len(sizes)
        grid = self._model.image_embedder(pixel_values=inputs["pixel_values"])[0]  # [B, H, W, C]
        patches = grid.flatten(1, 2)
        logits = self._model.class_predictor(
            patches, self._queries.expand(count, -1, -1), self._valid.expand(count, -1)
        )[0]
        outputs = SimpleNamespace(logits=logits, pred_boxes=self._model.box_predictor(patches, grid))
        results = self._processor.post_process_grounded_object_detection(
            outputs, threshold=confidence, target_sizes=list(sizes), text_labels=[self._classes] * count
        )
        return [[Found(result["boxes"], result["text_labels"], result["scores"])] for result in results]
