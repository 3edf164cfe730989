"""InternVL's texts: a prompt, words, begin and end. No torch is imported here, so that texts can be read without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.encoders.reading import Reading, make_reading

PROMPT = "summarize:"
"""Prefix of every caption, with no space after it."""
MAX_LENGTH = 80
"""Most tokens of a text, including prompt, begin and end; longer ones are cut."""


def framed_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts after the prompt, framed by begin and end; too long ones lose words, never the end token.

    Args:
        tokenizer: a transformers tokenizer of LLaMA's kind, or `WholeWords`.
        texts: the texts.
    """
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    words = tokenizer([PROMPT + text for text in texts], add_special_tokens=False)["input_ids"]
    return [[begin, *ids[: MAX_LENGTH - 2], end] for ids in words]


def read_texts(tokenizer: Any, texts: Sequence[str]) -> Reading:
    """Which texts `framed_ids` cuts, and which hold no known word; see `Encoder.read_texts`."""

    def encode(prefix: str) -> Any:
        return tokenizer([prefix + text for text in texts], add_special_tokens=False)["input_ids"]

    cut = [len(ids) > MAX_LENGTH - 2 for ids in encode(PROMPT)]
    return make_reading(MAX_LENGTH, cut, tokenizer, lambda: encode(""))
