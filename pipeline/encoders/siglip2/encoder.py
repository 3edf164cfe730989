"""SigLIP and SigLIP 2 on transformers: one site, the attention of the pooling head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Siglip2Model, SiglipModel

from pipeline.encoders.base import Encoder
from pipeline.encoders.positions import check_side
from pipeline.encoders.preprocessing import square_side
from pipeline.encoders.reading import Reading
from pipeline.encoders.siglip2.config import MOST_PATCHES, Preprocessing
from pipeline.encoders.siglip2.inputs import in_patches, split_places, squashed
from pipeline.encoders.siglip2.site import PoolingHeadSite
from pipeline.encoders.siglip2.sizes import read_resolution, read_spec
from pipeline.encoders.siglip2.text_inputs import read_texts, text_ids
from pipeline.encoders.siglip2.weights import TITLE, check_weights, load_weights
from pipeline.encoders.sites import make_perturbable
from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import QpertError
from pipeline.method.native_grid import NativeGrid
from pipeline.method.objects import Objects, TokenGrid
from pipeline.method.settings import Perturbation

_TEXTS_AT_ONCE = 256


class SiglipEncoder(Encoder):
    """One embedding per photo (V = 1), as `get_image_features`, with objects acting on the pooling head.

    A `Siglip2Model` is NaFlex: photos keep their aspect ratio, and its grid is a `NativeGrid`. A `SiglipModel` squashes
    photos; SigLIP 2 of fixed resolution is one too.
    """

    name = "siglip2"
    title = TITLE
    vectors = 1

    def __init__(self, model: SiglipModel | Siglip2Model, tokenizer: Any, preprocessing: Preprocessing) -> None:
        """Use `from_model` or `load`."""
        head, vision = model.vision_model.head, model.config.vision_config
        make_perturbable(head.attention, PoolingHeadSite)
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        patch = square_side(vision.patch_size, self.title)
        self.native, self._preprocessing = isinstance(model, Siglip2Model), preprocessing
        if self.native:
            self.grid, self._transform = NativeGrid(patch, preprocessing.max_num_patches), in_patches(preprocessing)
        else:
            side = square_side(vision.image_size, self.title)
            self.grid, self._transform = TokenGrid(side, patch, "squash", prefix=0), squashed(side, preprocessing)
        self.dim, self.length = vision.hidden_size, model.config.text_config.max_position_embeddings
        self.device, self.dtype = head.probe.device, head.probe.dtype
        self._sites = {"vision_model.head.attention": head.attention}

    @classmethod
    def from_model(
        cls, model: SiglipModel | Siglip2Model, tokenizer: Any = None, preprocessing: Preprocessing | None = None
    ) -> SiglipEncoder:
        """Wrap an existing model; its pooling head becomes perturbable, and the model is set to eval mode.

        Args:
            model: of any size, with a pooling head.
            tokenizer: of transformers; None: texts are given as ids.
            preprocessing: of photos; None: transformers' defaults (NaFlex: 256 patches).

        Raises:
            QpertError: not such a model, or preprocessing for another one.
        """
        if not isinstance(model, SiglipModel | Siglip2Model):
            raise QpertError(f"{type(model).__name__} is not transformers' SiglipModel or Siglip2Model")
        vision = model.config.vision_config
        if not vision.vision_use_head:
            raise QpertError("this SigLIP has no pooling head (vision_use_head), hence no embedding of photos")
        text = model.text_model.head.out_features
        if text != vision.hidden_size:
            raise QpertError(f"this SigLIP's texts have {text} numbers and its photos {vision.hidden_size}")
        chosen = preprocessing or Preprocessing(patch_size=square_side(vision.patch_size, cls.title))
        chosen.check_fits(vision, native=isinstance(model, Siglip2Model))
        return cls(model, tokenizer, chosen)

    @classmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> SiglipEncoder:
        """Load a checkpoint, see `load_weights` for its forms; the whole model takes `dtype`."""
        loaded = load_weights(weights, dtype)
        return cls.from_model(loaded.model.to(device), loaded.tokenizer, loaded.preprocessing)

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse folders that are missing or incomplete; the hub is only asked when loading."""
        check_weights(weights)

    @classmethod
    def spec(cls, weights: str) -> EncoderSpec:
        """By the configuration; for an unknown hub id, those of the largest published model."""
        return read_spec(weights)

    @classmethod
    def resolution(cls, weights: str) -> tuple[int, int] | None:
        """By the folder's config.json, or the name of a published model."""
        return read_resolution(weights)

    def resize(self, image_size: int) -> None:
        """By transformers' own interpolation; NaFlex: with as many patches as a square photo of this size has."""
        if isinstance(self.grid, NativeGrid) or image_size != self.grid.image_size:
            check_side(image_size, self.grid.patch, self.title)
        if isinstance(self.grid, TokenGrid):
            self.grid = replace(self.grid, image_size=image_size)
            self._transform = squashed(image_size, self._preprocessing)
            return
        patches = (image_size // self.grid.patch) ** 2
        if patches > MOST_PATCHES:
            raise QpertError(f"photos of {image_size} pixels have {patches:,} patches, and more than {MOST_PATCHES:,}")
        self.grid = replace(self.grid, max_patches=patches)
        self._transform = in_patches(self._preprocessing.model_copy(update={"max_num_patches": patches}))

    def preprocess(self, image: Image.Image) -> Tensor:
        """By transformers' image processor: float32 [3, S, S]; NaFlex: [N, 3 p^2 + 2], see `in_patches`."""
        return self._transform(image.convert("RGB"))

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] after the last LayerNorm; zero where NaFlex pads."""
        # The library's own forward also pools, once per photo: about a hundredth of the work.
        if not self.native:
            given = pixels.to(self.device, self.dtype)
            # transformers takes the positions as they are where the photo has as many patches as these.
            plain: Tensor = self.model.vision_model(given, interpolate_pos_encoding=True).last_hidden_state
            return plain
        patches, present, shapes = split_places(pixels.to(self.device))
        tokens: Tensor = self.model.vision_model(patches.to(self.dtype), present, shapes).last_hidden_state
        return tokens.masked_fill(~present[..., None], 0)

    @torch.no_grad()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, 1, D]; see `Encoder.embed`."""
        tokens = tokens.to(self.device, self.dtype)
        mask = [(tokens != 0).any(-1)] if self.native else []
        with self.perturbing(tokens, objects, perturbation, "itc"):
            pooled: Tensor = self.model.vision_model.head(tokens, *mask)
        return F.normalize(pooled.float(), dim=-1)[:, None]

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
            texts: strings, for the encoder's tokenizer.
            input_ids: int64 [T, L] instead; the models were trained with L = 64, filled up with the pad id.
            attention_mask: [T, L], 0 for tokens that the model shall not see; None, as in training: it sees all.
        """
        given = self.given_texts(texts, input_ids)
        if given is not None:
            input_ids = text_ids(self.tokenizer, given, self.length)
        assert input_ids is not None
        parts = [torch.zeros(0, self.dim, device=self.device)]
        for start in range(0, len(input_ids), _TEXTS_AT_ONCE):
            rows = slice(start, start + _TEXTS_AT_ONCE)
            mask = None if attention_mask is None else attention_mask[rows].to(self.device)
            parts.append(self.model.text_model(input_ids[rows].to(self.device), mask).pooler_output.float())
        return F.normalize(torch.cat(parts), dim=-1)

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """By the model's number of positions; see `Encoder.read_texts`."""
        return None if self.tokenizer is None else read_texts(self.tokenizer, texts, self.length)

    def sites(self) -> Mapping[str, nn.Module]:
        """The attention of the pooling head."""
        return self._sites
