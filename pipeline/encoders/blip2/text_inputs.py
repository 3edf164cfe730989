"""BLIP-2's texts, cleaned and cut as by LAVIS. No torch is imported here, so that texts can be read without it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pipeline.encoders.reading import Reading, make_reading

MAX_LENGTH = 35
"""Tokens of a text in LAVIS' evaluation, [CLS] and [SEP] included; longer ones are cut."""
MAX_WORDS = 50
"""Words of a text that LAVIS keeps, before they become tokens."""
_BERT_LENGTH = 512


def max_text_length(tokenizer: Any) -> int:
    """Most tokens of a text: LAVIS' 35, unless the tokenizer was made for another length than BERT's."""
    made_for = tokenizer.model_max_length
    return int(made_for) if made_for < _BERT_LENGTH else MAX_LENGTH


def read_texts(tokenizer: Any, texts: Sequence[str], **options: Any) -> Reading:
    """Which texts are cut, and which hold no known word; see `Encoder.read_texts`.

    Args:
        tokenizer: of transformers, or `WholeWords`.
        texts: the texts.
        options: for the tokenizer.
    """
    cleaned, limit = [clean(text) for text in texts], max_text_length(tokenizer)
    lengths = map(len, tokenizer(cleaned, **options)["input_ids"])
    cut = [length > limit or exceeds_max_words(text) for length, text in zip(lengths, texts, strict=True)]
    return make_reading(
        limit, cut, tokenizer, lambda: tokenizer(cleaned, add_special_tokens=False, **options)["input_ids"]
    )


def clean(text: str) -> str:
    """LAVIS' `blip_caption`: lower case, some punctuation to spaces, single spaces, at most 50 words."""
    return " ".join(_words(text)[:MAX_WORDS])


def exceeds_max_words(text: str) -> bool:
    """Whether `clean` cuts the text."""
    return len(_words(text)) > MAX_WORDS


def _words(text: str) -> list[str]:
    text = re.sub(r"\s{2,}", " ", re.sub(r"[.!\"()*#:;~]", " ", text.lower()))
    return text.rstrip("\n").strip(" ").split(" ")
