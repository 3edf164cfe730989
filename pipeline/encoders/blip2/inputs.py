"""BLIP-2's inputs: photos squashed as by LAVIS, and the attention mask of writing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pipeline.encoders.preprocessing import squashing

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def photo_transform(size: int) -> Callable[[Image.Image], Tensor]:
    """LAVIS' `blip_image_eval`: both sides squashed by PIL's bicubic filter, CLIP's mean and standard deviation."""
    return squashing(size, _CLIP_MEAN, _CLIP_STD)


def unilm_mask(queries: int, text_mask: Tensor) -> Tensor:
    """Attention mask for writing a caption (UniLM): bool [T, 1, queries + L, queries + L], True = sees.

    Queries see each other but no text; a text token sees the queries and the text up to itself.

    Args:
        queries: number of query tokens before the text.
        text_mask: [T, L], 0 for padding.
    """
    length = text_mask.shape[1]
    seen = torch.ones(queries + length, queries + length, dtype=torch.bool, device=text_mask.device)
    seen[:queries, queries:] = False
    seen[queries:, queries:] = seen[queries:, queries:].tril()
    present = F.pad(text_mask.bool(), (queries, 0), value=True)
    return seen & present[:, None, None, :]
