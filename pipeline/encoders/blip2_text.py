"""Text for BLIP-2: LAVIS' cleaning of captions, token ids, and the mask of image-grounded text generation."""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_LENGTH = 35
"""Tokens of a text in LAVIS' evaluation, [CLS] and [SEP] included; longer ones are cut."""
_MAX_WORDS = 50


def clean(text: str) -> str:
    """LAVIS' `blip_caption`: lower case, some punctuation to spaces, single spaces, at most 50 words."""
    text = re.sub(r"[.!\"()*#:;~]", " ", text.lower())
    return " ".join(re.sub(r"\s{2,}", " ", text.rstrip("\n").strip(" ")).split(" ")[:_MAX_WORDS])


def unilm_mask(queries: int, text_mask: Tensor) -> Tensor:
    """Who sees whom while a caption is written (UniLM): bool [T, 1, queries + L, queries + L], True = sees.

    Queries see each other and no text; a text token sees the queries, and the text up to itself.

    Args:
        queries: how many query tokens stand before the text.
        text_mask: [T, L], not 0 where there is a token.
    """
    length = text_mask.shape[1]
    seen = torch.ones(queries + length, queries + length, dtype=torch.bool, device=text_mask.device)
    seen[:queries, queries:] = False
    seen[queries:, queries:] = seen[queries:, queries:].tril()
    there = F.pad(text_mask.bool(), (queries, 0), value=True)
    return seen & there[:, None, None, :]
