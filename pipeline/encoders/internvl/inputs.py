"""What InternVL is given: photos squashed and normalised as ImageNet's, captions after a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipeline.encoders.reading import Reading, read_words, vocabulary_of
from pipeline.encoders.squash import squashing

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PROMPT = "summarize:"
"""What stands before every caption, without a space after it."""
MAX_LENGTH = 80
"""Tokens of a text, with prompt, begin and end; longer ones are cut."""


def photo_transform(size: int) -> Callable[[Image.Image], Tensor]:
    """The published transform for retrieval: both sides squashed by PIL's bicubic filter, ImageNet's statistics."""
    return squashing(size, IMAGENET_MEAN, IMAGENET_STD)


def text_ids(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """Ids int64 [T, L] of texts behind the prompt, framed by begin and end, filled up with 0 on the right.

    The frame and the padding are put here: what a tokenizer does by itself depends on its version (transformers 5 pads
    LLaMA's on the left, where InternVL would take the wrong token for the last one). A text that is too long loses its
    end, never the token that ends it.

    Args:
        tokenizer: a transformers tokenizer of LLaMA's kind.
        texts: T of them.
    """
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    words = tokenizer([PROMPT + text for text in texts], add_special_tokens=False)["input_ids"]
    rows = [torch.tensor([begin, *ids[: MAX_LENGTH - 2], end]) for ids in words]
    return pad_sequence(rows, batch_first=True) if rows else torch.zeros(0, 0, dtype=torch.int64)


def read_texts(tokenizer: Any, texts: Sequence[str]) -> Reading:
    """Which texts `text_ids` cuts, and which have no known word; see `Encoder.read_texts`."""
    prompted = tokenizer([PROMPT + text for text in texts], add_special_tokens=False)["input_ids"]
    cut = [len(ids) > MAX_LENGTH - 2 for ids in prompted]
    vocabulary = vocabulary_of(tokenizer)
    if vocabulary is None:
        return Reading(MAX_LENGTH, cut)
    return read_words(MAX_LENGTH, cut, tokenizer(list(texts), add_special_tokens=False)["input_ids"], vocabulary)
