"""The three losses of BLIP-2's first stage: image-text contrast, image-text matching, language modelling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForImageTextRetrieval

from pipeline.encoders.blip2.inputs import unilm_mask
from pipeline.miniature.blip2_model import WORDS

BEGIN = WORDS.index("[DEC]")


@dataclass(frozen=True)
class Objective:
    """A BLIP-2 with its language head and the temperature of its contrast."""

    model: Blip2ForImageTextRetrieval
    head: nn.Module
    log_scale: nn.Parameter

    def __call__(self, tokens: Tensor, ids: Tensor, hardness: float = 1.0) -> dict[str, Tensor]:
        """Mean losses of a batch.

        Args:
            tokens: [B, N, C] image tokens, from the vision tower.
            ids: int64 [2B, L], one caption of every photo and then another of every photo, padded with 0.
            hardness: 0 draws the wrong pairs for matching at random, 1 in proportion to their similarity (BLIP). At
                first an untrained matching head learns nothing from pairs that hard.

        Returns:
            `contrastive`, `matching` and `caption`.
        """
        ids = ids[:, : int((ids != 0).sum(1).max())]
        count = len(tokens)
        image, written = self._images_and_captions(tokens, ids[:count])
        text = embed_texts(self.model, ids)
        # [B, 2B], by the most similar of an image's vectors.
        logits = torch.einsum("iqd,td->itq", image, text).amax(-1) * self.log_scale.exp()
        own = torch.arange(count)
        contrastive = torch.stack(
            [F.cross_entropy(half, own) + F.cross_entropy(half.T, own) for half in torch.split(logits, count, dim=1)]
        ).mean()
        matching = self._matching(tokens, ids[:count], hardness * logits[:, :count].detach())
        return {"contrastive": contrastive / 2, "matching": matching, "caption": written}

    def _images_and_captions(self, tokens: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """One pass for both: queries do not see the caption, so their states depend on the image alone."""
        model, queries = self.model, self.model.query_tokens.expand(len(tokens), -1, -1)
        begun = torch.cat([torch.full_like(ids[:, :1], BEGIN), ids[:, 1:]], 1)
        states = model.qformer(
            query_embeds=model.embeddings(input_ids=begun, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=unilm_mask(queries.shape[1], ids != 0),
            encoder_hidden_states=tokens,
        ).last_hidden_state
        seen, said = states.split([queries.shape[1], ids.shape[1]], dim=1)
        predicted = self.head(said[:, :-1])
        written = F.cross_entropy(predicted.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=0)
        return F.normalize(model.vision_projection(seen), dim=-1), written

    def _matching(self, tokens: Tensor, ids: Tensor, logits: Tensor) -> Tensor:
        """The right pairs, and a similar wrong caption for every photo and a similar wrong photo for every caption."""
        model, count = self.model, len(tokens)
        wrong = logits.masked_fill(torch.eye(count, dtype=torch.bool), -torch.inf)
        texts = torch.multinomial(wrong.softmax(1), 1).squeeze(1)
        photos = torch.multinomial(wrong.T.softmax(1), 1).squeeze(1)
        own = torch.arange(count)
        photo_rows, text_rows = torch.cat([own, own, photos]), torch.cat([own, texts, own])
        pairs, queries = ids[text_rows], model.query_tokens.expand(3 * count, -1, -1)
        mask = F.pad((pairs != 0).long(), (queries.shape[1], 0), value=1)
        states = model.qformer(
            query_embeds=model.embeddings(input_ids=pairs, query_embeds=queries),
            query_length=queries.shape[1],
            attention_mask=mask,
            encoder_hidden_states=tokens[photo_rows],
        ).last_hidden_state
        scores = model.itm_head(states[:, : queries.shape[1]]).mean(1)
        return F.cross_entropy(scores, (torch.arange(3 * count) < count).long())


def embed_texts(model: Blip2ForImageTextRetrieval, ids: Tensor) -> Tensor:
    """Unit vectors [T, D] of texts int64 [T, L], padded with 0."""
    states = model.qformer(
        query_embeds=model.embeddings(input_ids=ids), query_length=0, attention_mask=(ids != 0).long()
    ).last_hidden_state
    return F.normalize(model.text_projection(states[:, 0]), dim=-1)
