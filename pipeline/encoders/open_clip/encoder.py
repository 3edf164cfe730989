"""CoCa (open_clip): one site, the attention pooler after the vision encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.base import Encoder
from pipeline.encoders.open_clip.plain_coca import PlainCoca
from pipeline.encoders.open_clip.plain_weights import load_plain_weights
from pipeline.encoders.open_clip.weights import check_weights, load_weights, read_spec, read_texts
from pipeline.encoders.open_clip.word_tokenizer import Tokenize
from pipeline.encoders.preprocessing import Transform, square_side
from pipeline.encoders.reading import Reading
from pipeline.encoders.sites import MultiheadAttentionSite, make_perturbable
from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import QpertError
from pipeline.method.objects import Objects, TokenGrid
from pipeline.method.settings import Perturbation

if TYPE_CHECKING:  # imported where it is used: plain folders are opened without it, see `plain_coca`
    import open_clip

_EXTREME = 64
"""Ratio of a photo's sides beyond which it is cropped before it is resized."""
_MODES = {"shortest": "center_crop", "squash": "squash"}
"""open_clip's `resize_mode` to the grid's mode."""
_TEXTS_AT_ONCE = 256
"""Texts per pass: the text tower makes a mask of heads x length^2 numbers for each."""


class OpenClipEncoder(Encoder):
    """One embedding per photo (V = 1), as `open_clip.CoCa.encode_image`, with objects acting on the attention pooler.

    Of the pooler's queries only the first reaches the embedding; the others feed the caption decoder.
    """

    name = "coca"
    title = "CoCa"
    grid: TokenGrid
    vectors = 1

    def __init__(
        self, model: open_clip.CoCa | PlainCoca, tokenizer: Tokenize | None, grid: TokenGrid, transform: Transform
    ) -> None:
        """Use `from_model` or `load`."""
        make_perturbable(model.visual.attn_pool.attn, MultiheadAttentionSite)
        self.model, self.tokenizer, self.grid = model.eval().requires_grad_(False), tokenizer, grid
        self.dim = model.visual.proj.shape[1]
        self.device, self.dtype = model.visual.conv1.weight.device, model.visual.conv1.weight.dtype
        self._transform = transform
        self._sites = {"visual.attn_pool.attn": model.visual.attn_pool.attn}

    @classmethod
    def from_model(
        cls, model: open_clip.CoCa, tokenizer: Tokenize | None = None, image_size: int | None = None
    ) -> OpenClipEncoder:
        """Wrap an existing model; its pooler becomes perturbable, and the model is set to eval mode.

        Args:
            model: an `open_clip.CoCa` of any size; its own `preprocess_cfg` is used if it has one.
            tokenizer: from texts to ids; None: `embed_text` takes ids only.
            image_size: side of the square input; None: the model's.

        Raises:
            QpertError: not a CoCa with open_clip's attention pooler, or preprocessing that boxes cannot follow.
        """
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2

        if not isinstance(model, open_clip.CoCa) or getattr(model.visual, "attn_pool", None) is None:
            raise QpertError(f"{type(model).__name__} is not an open_clip CoCa model with an attention pooler")
        visual = model.visual
        if visual.attn_pool_contrastive is not None:
            raise QpertError("CoCa with a second pooler (attentional_pool parallel or cascade) is not supported")
        settings = {"size": visual.image_size, **open_clip.get_model_preprocess_cfg(model)}
        cfg = PreprocessCfg(**{k: v for k, v in settings.items() if k in PreprocessCfg.__dataclass_fields__})
        size, patch = square_side(visual.image_size, cls.title), square_side(visual.patch_size, cls.title)
        if square_side(cfg.size, cls.title) != size or image_size not in (None, size):
            raise QpertError(f"this CoCa takes images of {size} pixels, not {image_size or cfg.size}")
        if cfg.resize_mode not in _MODES:
            raise QpertError(f"resize_mode {cfg.resize_mode!r} is not supported; use one of {', '.join(_MODES)}")
        grid = TokenGrid(size, patch, "squash" if cfg.resize_mode == "squash" else "center_crop")
        return cls(model, tokenizer, grid, image_transform_v2(cfg, is_train=False))

    @classmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> OpenClipEncoder:
        """Load a checkpoint, see `load_weights` for its forms; the whole model takes `dtype`, text tower included."""
        if plain := load_plain_weights(weights):
            visual = plain.model.visual
            grid = TokenGrid(visual.image_size, visual.patch_size, "center_crop")
            return cls(plain.model.to(device=device, dtype=dtype), plain.tokenizer, grid, plain.transform)
        model, tokenizer = load_weights(weights)
        return cls.from_model(model.to(device=device, dtype=dtype), tokenizer)

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse unknown models and tags, missing files, and folders that lack a file."""
        check_weights(weights)

    @classmethod
    def spec(cls, weights: str) -> EncoderSpec:
        """By the model's configuration; without one, those of ViT-L/14."""
        return read_spec(weights)

    def preprocess(self, image: Image.Image) -> Tensor:
        """open_clip's own inference transform for this model: float32 [3, S, S]."""
        if self.grid.mode == "center_crop":
            image = _crop_extreme(image)
        pixels: Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] before the attention pooler; the first is [CLS]."""
        visual = self.model.visual
        tokens: Tensor = visual.transformer(visual._embeds(pixels.to(self.device, self.dtype)))
        return tokens

    @torch.no_grad()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, 1, D]; see `Encoder.embed`."""
        visual = self.model.visual
        with self.perturbing(tokens, objects, perturbation, "itc"):
            pooled, _ = visual._pool(tokens.to(self.device, self.dtype))
        return F.normalize((pooled @ visual.proj).float(), dim=-1)[:, None]

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
            input_ids: int64 [T, L] instead; CoCa was trained with L = its context length, padded with its pad id.
            attention_mask: [T, L], 0 where `input_ids` count as padding.
        """
        given = self.given_texts(texts, input_ids)
        if given is not None:
            input_ids = self.tokenizer(given)
        assert input_ids is not None
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, self.model.pad_id)
        parts = [
            self.model.encode_text(part.to(self.device), normalize=False).float()
            for part in torch.split(input_ids, _TEXTS_AT_ONCE)
        ]
        return F.normalize(torch.cat(parts), dim=-1)

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """By the tokenizer's context length; see `Encoder.read_texts`."""
        return read_texts(self.tokenizer, texts)

    def sites(self) -> Mapping[str, nn.Module]:
        """The attention pooler's attention."""
        return self._sites


CocaEncoder = OpenClipEncoder
"""The name of the one model of open_clip that has cross-attentions."""


def _crop_extreme(image: Image.Image) -> Image.Image:
    """Cut the ends off a photo of extreme shape before it is resized, as they are cropped afterwards anyway.

    A photo of 1 x 100,000 pixels, resized to 224 on the shorter side, would take 15 GB.
    """
    longest = _EXTREME * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image
