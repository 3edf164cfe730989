"""BLIP-2 on transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Blip2ForImageTextRetrieval

from pipeline.encoders.blip2.beam_search import Decoding
from pipeline.encoders.blip2.captioning import CaptionWriter
from pipeline.encoders.blip2.config import read_blip2_config
from pipeline.encoders.blip2.family import Blip2Family
from pipeline.encoders.blip2.inputs import photo_transform
from pipeline.encoders.blip2.language_head import build_language_head
from pipeline.encoders.blip2.qformer import qformer_sites
from pipeline.encoders.blip2.weights import check_weights, load_weights
from pipeline.encoders.positions import check_side
from pipeline.encoders.preprocessing import square_side
from pipeline.errors import QpertError
from pipeline.io.model_weights import split_weights
from pipeline.method.objects import TokenGrid

_PUBLISHED = (364, 14)
"""Sides of input and patch of Salesforce/blip2-itm-vit-g-coco."""


class Blip2Encoder(Blip2Family):
    """`transformers.Blip2ForImageTextRetrieval`, with LAVIS' language head if there is one.

    transformers itself keeps the Q-Former in float32. The model's own `forward` is never called: whether it expects
    texts with image tokens in them depends on the saved configuration.
    """

    name = "blip2"

    def __init__(
        self, model: Blip2ForImageTextRetrieval, tokenizer: Any, head: nn.Module | None, decoding: Decoding
    ) -> None:
        """Use `from_model` or `load`."""
        vision = model.config.vision_config
        grid = TokenGrid(
            square_side(vision.image_size, self.title), square_side(vision.patch_size, self.title), "squash"
        )
        sites = {f"qformer.{name}": site for name, site in qformer_sites(model.qformer).items()}
        super().__init__(tokenizer, grid, sites, decoding)
        self.model, self.head = model, head
        self.vectors, self.dim = model.query_tokens.shape[1], model.vision_projection.out_features
        patches = model.vision_model.embeddings.patch_embedding.weight
        self.device, self.dtype = patches.device, patches.dtype

    @classmethod
    def from_model(
        cls,
        model: Blip2ForImageTextRetrieval,
        tokenizer: Any = None,
        lm_head: Mapping[str, Tensor] | None = None,
        decoding: Decoding | None = None,
    ) -> Blip2Encoder:
        """Wrap an existing model; its cross-attentions become perturbable, and the model is set to eval mode.

        Args:
            model: of any size, with the Q-Former's text side (`use_qformer_text_input`).
            tokenizer: see `Blip2Family`.
            lm_head: weights for captions, see `build_language_head`; None: no captions.
            decoding: how captions are written by default.

        Raises:
            QpertError: not such a model, or a language head of another one.
        """
        if not isinstance(model, Blip2ForImageTextRetrieval):
            raise QpertError(f"{type(model).__name__} is not transformers' Blip2ForImageTextRetrieval")
        if not model.config.qformer_config.use_qformer_text_input:
            raise QpertError("this BLIP-2's Q-Former reads no text: a stage-2 model, which retrieval cannot use")
        for name, part in model.named_children():
            if name != "vision_model":
                part.float()
        model.query_tokens.data = model.query_tokens.data.float()
        head = None if lm_head is None else build_language_head(model.embeddings.word_embeddings, lm_head)
        if head is not None:
            head.eval().requires_grad_(False)
        return cls(model.eval().requires_grad_(False), tokenizer, head, decoding or Decoding())

    @classmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> Blip2Encoder:
        """Load a checkpoint, see `load_weights` for its forms.

        The vision tower takes `dtype`; all that follows it is float32.
        """
        loaded = load_weights(weights)
        loaded.model.vision_model.to(dtype)
        return cls.from_model(loaded.model.to(device), loaded.tokenizer, loaded.lm_head, loaded.decoding)

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse files and folders that are missing or incomplete; the hub is only asked when loading."""
        check_weights(weights)

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] after the vision tower's last LayerNorm; the first is [CLS]."""
        tower = self.model.vision_model
        # transformers takes the positions as they are where the photo has as many patches as these.
        tokens: Tensor = tower(pixels.to(self.device, self.dtype), interpolate_pos_encoding=True).last_hidden_state
        return tokens

    @classmethod
    def resolution(cls, weights: str) -> tuple[int, int] | None:
        """By the folder's config.json, or that of the published models; None for a LAVIS checkpoint."""
        first, _ = split_weights(weights)
        folder = Path(first)
        if folder.is_dir():
            vision = read_blip2_config(folder / "config.json").vision_config
            return square_side(vision.image_size, cls.title), square_side(vision.patch_size, cls.title)
        return None if first.endswith(".pth") else _PUBLISHED

    def resize(self, image_size: int) -> None:
        """By transformers' own interpolation; see `Encoder.resize`."""
        if image_size == self.grid.image_size:
            return
        check_side(image_size, self.grid.patch, self.title)
        self.grid = replace(self.grid, image_size=image_size)
        self._transform = photo_transform(image_size)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self.model.embeddings.word_embeddings.num_embeddings)

    @property
    def positions(self) -> int:
        """Tokens of the longest text."""
        return int(self.model.embeddings.position_embeddings.num_embeddings)

    def _look(self, tokens: Tensor) -> Tensor:
        queries = self.model.query_tokens.expand(len(tokens), -1, -1)
        states = self.model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        projected: Tensor = self.model.vision_projection(states)
        return projected

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        words = self.model.embeddings(input_ids=ids)
        states = self.model.qformer(query_embeds=words, query_length=0, attention_mask=mask).last_hidden_state
        projected: Tensor = self.model.text_projection(states[:, 0])
        return projected

    def _match(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        queries = self.model.query_tokens.expand(len(ids), -1, -1)
        count = queries.shape[1]
        states = self.model.qformer(
            query_embeds=self.model.embeddings(input_ids=ids, query_embeds=queries),
            query_length=count,
            attention_mask=F.pad(mask, (count, 0), value=1),
            encoder_hidden_states=tokens,
        ).last_hidden_state
        scores: Tensor = self.model.itm_head(states[:, :count])[..., 1].mean(1)
        return scores

    def _write(self, tokens: Tensor, prompt: Tensor, decoding: Decoding, end: int) -> list[list[int]]:
        assert self.head is not None
        return CaptionWriter(self.model, self.head, tokens).write(prompt, decoding, end)

    def _check_writes(self) -> None:
        if self.head is None:
            raise QpertError(
                "these weights have no language head, which transformers' BLIP-2 leaves out: add the LAVIS checkpoint,"
                " as in --weights Salesforce/blip2-itm-vit-g-coco+blip2_finetune_coco.pth"
            )
