"""InternVL's inputs: photos squashed and normalised by ImageNet's statistics, captions after a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.encoders.internvl.text_inputs import framed_ids
from pipeline.encoders.preprocessing import squashing

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photo_transform(size: int) -> Callable[[Image.Image], Tensor]:
    """The published transform for retrieval: both sides squashed by PIL's bicubic filter, ImageNet's statistics."""
    return squashing(size, IMAGENET_MEAN, IMAGENET_STD)


def text_ids(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Ids int64 [T, L] of texts after the prompt, framed by begin and end, padded with 0 on the right.

    Frame and padding are added here, because a tokenizer's own depend on its version (transformers 5 pads LLaMA's on
    the left, where InternVL would mistake the last token). A text that is too long loses words, never the end token.

    Args:
        tokenizer: a transformers tokenizer of LLaMA's kind.
        texts: T of them.
    """
    rows = [torch.tensor(ids) for ids in framed_ids(tokenizer, texts)]
    return pad_sequence(rows, batch_first=True) if rows else torch.zeros(0, 0, dtype=torch.int64)
