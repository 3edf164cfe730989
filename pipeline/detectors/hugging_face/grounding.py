"""Grounding DINO and MM-Grounding-DINO, which read all classes as one text: "dog. red kite.".

Their answers are probabilities of the tokens of that text. Boxes and scores are those of transformers' post-processing.
Its labels are pieces of the text, which need not be a class, so a box is named by the class whose tokens have the
highest mean probability, as the authors' own evaluation does. Classes that do not fit into one text go into several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from pipeline.detectors.hugging_face.found import Found
from pipeline.detectors.hugging_face.vocabularies import Sizes
from pipeline.errors import QpertError


@dataclass(frozen=True)
class _Text:
    """One text of several classes.

    Attributes:
        classes: their names.
        tokens: `input_ids`, `token_type_ids` and `attention_mask`, each [1, L].
        shares: float32 [classes, L], 1/n at the n tokens of each class.
    """

    classes: list[str]
    tokens: dict[str, Tensor]
    shares: Tensor


def check_marks(classes: Sequence[str]) -> None:
    """Refuses names that the model would read as several classes.

    Raises:
        QpertError: a class contains a full stop or a question mark, which end a class.
    """
    for name in classes:
        if any(mark in name for mark in ".?"):
            raise QpertError(f"class {name!r}: a full stop or question mark ends a class of this detector")


class GroundedClasses:
    """A Grounding DINO and the classes that it looks for."""

    def __init__(self, model: Any, processor: Any, classes: Sequence[str]) -> None:
        """Tokenizes the classes.

        Raises:
            QpertError: a class contains a full stop or a question mark, which end a class, or is too long.
        """
        self._model, self._processor = model, processor
        check_marks(classes)
        self._texts = [self._text(part) for part in self._split(classes)]
        model.model.text_backbone = _ReadOnce(model.model.text_backbone)

    def find(self, inputs: Mapping[str, Tensor], sizes: Sizes, confidence: float) -> list[list[Found]]:
        """See `Vocabulary`."""
        parts = [self._find(text, inputs, sizes, confidence) for text in self._texts]
        return [list(found) for found in zip(*parts, strict=True)]

    def _find(self, text: _Text, inputs: Mapping[str, Tensor], sizes: Sizes, confidence: float) -> list[Found]:
        tokens = {name: value.expand(len(sizes), -1) for name, value in text.tokens.items()}
        outputs = self._model(**inputs, **tokens)
        results = self._processor.post_process_grounded_object_detection(
            outputs, tokens["input_ids"], threshold=confidence, target_sizes=list(sizes)
        )
        probabilities = outputs.logits.sigmoid()
        kept = probabilities.max(-1).values > confidence  # the rows of `results`
        chosen = (probabilities[..., : text.shares.shape[1]] @ text.shares.T).argmax(-1)
        return [
            Found(result["boxes"], [text.classes[number] for number in numbers[rows].tolist()], result["scores"])
            for result, numbers, rows in zip(results, chosen, kept, strict=True)
        ]

    def _split(self, classes: Sequence[str]) -> list[list[str]]:
        """As many classes in one text as the model reads tokens."""
        room = self._model.config.max_text_len - 2  # [CLS] and [SEP]
        parts: list[list[str]] = []
        left = 0
        for name in classes:
            length = len(self._processor.tokenizer(f"{name.lower()}.", add_special_tokens=False)["input_ids"])
            if length > room:
                raise QpertError(f"class {name!r} has more than the {room} tokens that this detector reads; shorten it")
            if length > left:
                parts, left = [*parts, []], room
            parts[-1].append(name)
            left -= length
        return parts

    def _text(self, classes: list[str]) -> _Text:
        text = "".join(f"{name.lower()}. " for name in classes).rstrip()  # as the library's processor writes it
        found = self._processor.tokenizer(
            text, return_tensors="pt", return_offsets_mapping=True, return_token_type_ids=True
        )
        starts, ends = found.pop("offset_mapping")[0].unbind(-1)
        shares, begin = torch.zeros(len(classes), len(starts)), 0
        for row, name in enumerate(classes):
            end = begin + len(name.lower())
            inside = (starts >= begin) & (ends <= end) & (ends > starts)
            shares[row] = inside / inside.sum().clamp(min=1)
            begin = end + len(". ")
        tokens = {name: value.to(self._model.device) for name, value in found.items()}
        return _Text(classes, tokens, shares.to(self._model.device))


class _ReadOnce(nn.Module):
    """A text backbone that reads each text once: all photos of a batch, and all batches, have the same."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self._read: dict[tuple[int, ...], Tensor] = {}

    def forward(self, input_ids: Tensor, masks: Tensor, types: Tensor, positions: Tensor, **options: Any) -> Any:
        text = tuple(input_ids[0].tolist())
        if text not in self._read:
            outputs = self.backbone(input_ids[:1], masks[:1], types[:1], positions[:1], **options)
            self._read[text] = outputs.last_hidden_state
        return BaseModelOutput(last_hidden_state=self._read[text].expand(len(input_ids), -1, -1))
