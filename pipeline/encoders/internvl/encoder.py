"""InternVL-14B: InternVL-G, with QLLaMA's cross-attentions and the pooling attention as sites, and InternVL-C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.encoders.base import Encoder
from pipeline.encoders.internvl.config import InternVLConfig
from pipeline.encoders.internvl.inputs import photo_transform, text_ids
from pipeline.encoders.internvl.model import InternVL
from pipeline.encoders.internvl.text_inputs import read_texts
from pipeline.encoders.internvl.weights import check_weights, load_weights, read_config
from pipeline.encoders.positions import check_side, interpolate_positions
from pipeline.encoders.reading import Reading
from pipeline.encoders.sites import Site
from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import QpertError
from pipeline.method.objects import Objects, TokenGrid
from pipeline.method.settings import Perturbation

_TEXTS_AT_ONCE = 64
_NOT_A_SITE = "clip_projector2.cross_attn"
"""It attends to QLLaMA's queries, which have no position in the photo."""

Mode = Literal["g", "c"]


class InternVLEncoder(Encoder):
    """One embedding per photo (V = 1).

    InternVL-C pools the vision tower's tokens: one site. InternVL-G adds the unit vector of what QLLaMA's queries find
    in them: one more site for each of QLLaMA's cross-attentions, sixteen in the published model.
    """

    name = "internvl"
    title = "InternVL"
    vectors = 1
    mode: Mode = "g"

    grid: TokenGrid

    def __init__(self, model: InternVL, tokenizer: Any, mode: Mode) -> None:
        """Use `from_model` or `load`."""
        self.model, self.tokenizer, self.mode = model, tokenizer, mode
        config = model.config
        self.grid = TokenGrid(config.image_size, config.vision_config.patch_size, "squash")
        self.dim = config.clip_embed_dim
        self.device, self.dtype = model.text_projection.device, model.text_projection.dtype
        self._transform = photo_transform(config.image_size)
        self._sites = _find_sites(model, mode)

    @classmethod
    def from_model(cls, module: InternVL, mode: Mode | None = None, tokenizer: Any = None) -> InternVLEncoder:
        """Wrap an existing model, see `build_internvl`; it is set to eval mode.

        Args:
            module: of any size.
            mode: "g" for InternVL-G, "c" for InternVL-C; None: the class's own.
            tokenizer: a transformers tokenizer of LLaMA's kind, with padding as id 0; None: texts are given as ids.

        Raises:
            QpertError: unknown mode, or not such a model.
        """
        if not isinstance(module, InternVL):
            raise QpertError(
                f"{type(module).__name__} is not the InternVL of this package: build that and load the state_dict"
            )
        mode = mode or cls.mode
        if mode not in ("g", "c"):
            raise QpertError(f"unknown InternVL mode {mode!r}; choose 'g' or 'c'")
        return cls(module.eval().requires_grad_(False), tokenizer, mode)

    @classmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> InternVLEncoder:
        """Load a checkpoint, see `load_weights` for its forms."""
        model, tokenizer = load_weights(weights, device, dtype)
        return cls.from_model(model, tokenizer=tokenizer)

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse folders that are missing or incomplete; the hub is only asked when loading."""
        check_weights(weights)

    @classmethod
    def spec(cls, weights: str) -> EncoderSpec:
        """By the folder's config.json; for a hub id, those of the published model at 364 pixels."""
        folder = Path(weights)
        config = read_config(folder) if folder.is_dir() else InternVLConfig(force_image_size=364)
        with torch.device("meta"):
            model = InternVL(config)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        width, sites = config.vision_config.hidden_size, len(_find_sites(model, cls.mode))
        return EncoderSpec(parameters, config.image_tokens, width, vectors=1, dim=config.clip_embed_dim, sites=sites)

    @classmethod
    def resolution(cls, weights: str) -> tuple[int, int] | None:
        """By the folder's config.json; for a hub id, that of the published models."""
        folder = Path(weights)
        config = read_config(folder) if folder.is_dir() else InternVLConfig()
        return config.image_size, config.vision_config.patch_size

    def resize(self, image_size: int) -> None:
        """By bicubic interpolation, as the published code; see `Encoder.resize`."""
        if image_size == self.grid.image_size:
            return
        check_side(image_size, self.grid.patch, self.title)
        self.grid = replace(self.grid, image_size=image_size)
        embeddings = self.model.vision_model.embeddings
        positions = interpolate_positions(embeddings.position_embedding[0], self.grid.side, 1, antialias=False)
        embeddings.position_embedding = nn.Parameter(positions[None], requires_grad=False)
        self._transform = photo_transform(image_size)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Both sides squashed to S by PIL's bicubic filter, ImageNet's statistics: float32 [3, S, S]."""
        return self._transform(image.convert("RGB"))

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] of InternViT's last block, without a norm; the first is [CLS]."""
        tokens: Tensor = self.model.vision_model(pixels.to(self.device, self.dtype))
        return tokens

    @torch.no_grad()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, 1, D]; see `Encoder.embed`."""
        tokens = tokens.to(self.device, self.dtype)
        with self.perturbing(tokens, objects, perturbation, "itc"):
            vectors = self.model.embed_g(tokens) if self.mode == "g" else self.model.embed_c(tokens)
        return vectors[:, None]

    @torch.no_grad()
    def embed_text(
        self,
        texts: Sequence[str] | None = None,
        *,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Unit vectors float32 [T, D].

        Args:
            texts: strings; each gets the prefix "summarize:" and is cut at 80 tokens.
            input_ids: int64 [T, L] instead, padded on the right, with prompt, begin and end.
            attention_mask: [T, L], 0 for padding; None: ids of 0 are padding.

        Raises:
            QpertError: padding on the left, which would hide the position of the last token.
        """
        given = self.given_texts(texts, input_ids)
        if given is not None:
            input_ids = text_ids(self.tokenizer, given)
        assert input_ids is not None
        mask = (input_ids if attention_mask is None else attention_mask) > 0
        if not len(input_ids):
            return torch.zeros(0, self.dim, device=self.device)
        if not mask[:, 0].all():
            raise QpertError("texts of InternVL are padded on the right: the first token of each must not be padding")
        parts = zip(torch.split(input_ids, _TEXTS_AT_ONCE), torch.split(mask, _TEXTS_AT_ONCE), strict=True)
        return torch.cat([self.model.embed_text(ids.to(self.device), keep.to(self.device)) for ids, keep in parts])

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """By 80 tokens, including the prompt; see `Encoder.read_texts`."""
        return None if self.tokenizer is None else read_texts(self.tokenizer, texts)

    def sites(self) -> Mapping[str, nn.Module]:
        """QLLaMA's cross-attentions (InternVL-G only), then the pooling attention after the vision tower."""
        return self._sites


class InternVLCEncoder(InternVLEncoder):
    """InternVL-C from the same weights: only the pooled tokens of the vision tower."""

    name = "internvl-c"
    mode = "c"


def _find_sites(model: InternVL, mode: Mode) -> dict[str, nn.Module]:
    """In the model's order: QLLaMA's cross-attentions first, then the pooling attention."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Site) and name != _NOT_A_SITE and (mode == "g" or not name.startswith("qllama."))
    }
