"""Writing captions with BLIP-2's Q-Former: the query tokens look at the photo once, then text follows token by token.

Queries never see text while a caption is written (`unilm_mask`), so their states depend on the photo alone. One pass
gives everything that later tokens need, the self-attention keys and values of each layer. Only that pass uses the image
tokens, the cross-attention keys and the operator of Q-Perturbation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForImageTextRetrieval

from pipeline.encoders.blip2.beam_search import Decoding, beam_search, greedy

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values [R, H, n, d] of each layer's self-attention."""


class CaptionWriter:
    """A BLIP-2 and its language head, as a step function of `beam_search`.

    Args:
        model: in evaluation mode.
        head: from `build_language_head`.
        image_tokens: [B, N, C]; the queries are perturbed if this is called inside `perturbing`.
    """

    def __init__(self, model: Blip2ForImageTextRetrieval, head: nn.Module, image_tokens: Tensor) -> None:
        self.model, self.head, self.photos = model, head, len(image_tokens)
        self.layers = model.qformer.encoder.layer
        self.photo_cache = self._look(image_tokens)

    def write(self, prompt: Tensor, decoding: Decoding, end: int) -> list[list[int]]:
        """Token ids of a caption for each photo, beginning with `prompt` int64 [B, P]; see `greedy`, `beam_search`."""
        beams = decoding.num_beams
        self.cache = [(k.repeat_interleave(beams, 0), v.repeat_interleave(beams, 0)) for k, v in self.photo_cache]
        self.length = 0
        return (greedy if beams == 1 else beam_search)(self.step, prompt, decoding, end)

    def step(self, ids: Tensor, origin: Tensor | None) -> Tensor:
        """Logits [R, vocabulary] after the new tokens `ids` [R, n]; each row continues the former row `origin`."""
        positions = torch.arange(self.length, self.length + ids.shape[1], device=ids.device)[None]
        states = self.model.qformer.layernorm(self.model.embeddings(input_ids=ids, position_ids=positions))
        for number, layer in enumerate(self.layers):
            attention = layer.attention.attention
            q, k, v = (_heads(part(states), attention) for part in (attention.query, attention.key, attention.value))
            past = self.cache[number]
            if origin is not None:
                past = past[0][origin], past[1][origin]
            keys, values = (torch.cat(pair, 2) for pair in zip(past, (k, v), strict=True))
            self.cache[number] = keys, values
            seen = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool, device=ids.device)
            seen = seen.tril(keys.shape[2] - q.shape[2])
            attended = F.scaled_dot_product_attention(q, keys, values, seen, scale=attention.scaling)
            states = layer.attention.output(attended.transpose(1, 2).flatten(2), states)
            states = layer.feed_forward_chunk(states)
        self.length += ids.shape[1]
        logits: Tensor = self.head(states[:, -1])
        return logits

    def _look(self, image_tokens: Tensor) -> Cache:
        """The queries' pass over the photos."""
        qformer, queries = self.model.qformer, self.model.query_tokens
        states = qformer.layernorm(queries.expand(self.photos, -1, -1))
        cache = []
        for layer in self.layers:
            attention = layer.attention.attention
            cache.append((_heads(attention.key(states), attention), _heads(attention.value(states), attention)))
            states = layer(states, None, image_tokens, query_length=queries.shape[1])
        return cache


def _heads(states: Any, attention: Any) -> Tensor:
    """[R, n, H d] to [R, H, n, d]."""
    heads: Tensor = states.unflatten(-1, (attention.num_attention_heads, attention.attention_head_size))
    return heads.transpose(1, 2)
