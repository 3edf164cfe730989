"""Any model of open_clip: one site where attention pooling is a cross-attention, and none elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.base import Encoder
from pipeline.encoders.open_clip.plain_coca import PlainCoca
from pipeline.encoders.open_clip.plain_weights import load_plain_weights
from pipeline.encoders.open_clip.resizing import resize_tower
from pipeline.encoders.open_clip.towers import Tower, cut_tower, cut_transformer, vocabulary_size
from pipeline.encoders.open_clip.weights import check_weights, load_weights, read_resolution, read_spec, read_texts
from pipeline.encoders.open_clip.word_tokenizer import Tokenize
from pipeline.encoders.positions import check_side
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
_MODES = ("shortest", "squash")
"""Values of open_clip's `resize_mode` that boxes can follow."""
_TEXTS_AT_ONCE = 256
"""Texts per pass: the text tower makes a mask of heads x length^2 numbers for each."""


class OpenClipEncoder(Encoder):
    """One embedding per photo (V = 1), as the model's `encode_image`, with objects acting on its attention pooling.

    Of CoCa's queries only the first reaches the embedding; the others feed the caption decoder. Towers that pool
    without a cross-attention have no sites: their embeddings are always plain.
    """

    name = "open_clip"
    title = "open_clip model"
    grid: TokenGrid
    vectors = 1

    def __init__(
        self,
        model: open_clip.CLIP | open_clip.CustomTextCLIP | open_clip.CoCa | PlainCoca,
        tokenizer: Tokenize | None,
        tower: Tower,
        grid: TokenGrid,
        transform_for: Callable[[int], Transform],
    ) -> None:
        """Use `from_model` or `load`."""
        self.model, self.tokenizer, self.grid = model.eval().requires_grad_(False), tokenizer, grid
        weight = next(model.visual.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self._tower, self._transform_for = tower, transform_for
        self._transform = transform_for(grid.image_size)
        with torch.no_grad():
            no_photo = torch.zeros(1, grid.tokens, tower.width, device=self.device, dtype=self.dtype)
            self.dim = tower.pool(no_photo).shape[-1]

    @classmethod
    def from_model(
        cls,
        model: open_clip.CLIP | open_clip.CustomTextCLIP | open_clip.CoCa,
        tokenizer: Tokenize | None = None,
        image_size: int | None = None,
    ) -> OpenClipEncoder:
        """Wrap an existing model; its attention pooling becomes perturbable, and the model is set to eval mode.

        Args:
            model: a model of open_clip, of any size; its own `preprocess_cfg` is used if it has one.
            tokenizer: from texts to ids; None: `embed_text` takes ids only.
            image_size: side of the square input; None: the model's.

        Raises:
            QpertError: not a model of open_clip, a pooling that cannot be perturbed, or preprocessing that boxes cannot
                follow.
        """
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2

        if not isinstance(model, open_clip.CLIP | open_clip.CustomTextCLIP | open_clip.CoCa):
            raise QpertError(f"{type(model).__name__} is not an open_clip model")
        try:
            tower = cut_tower(model.visual)
        except ValueError as error:
            raise QpertError(f"this {cls.title} is not supported: {error}") from error
        settings = {"size": tower.image_size, **open_clip.get_model_preprocess_cfg(model)}
        cfg = PreprocessCfg(**{k: v for k, v in settings.items() if k in PreprocessCfg.__dataclass_fields__})
        size, patch = square_side(tower.image_size, cls.title), square_side(tower.patch, cls.title)
        if square_side(cfg.size, cls.title) != size or image_size not in (None, size):
            raise QpertError(f"this {cls.title} takes images of {size} pixels, not {image_size or cfg.size}")
        if cfg.resize_mode not in _MODES:
            raise QpertError(f"resize_mode {cfg.resize_mode!r} is not supported; use one of {', '.join(_MODES)}")
        mode: Literal["squash", "center_crop"] = "squash" if cfg.resize_mode == "squash" else "center_crop"
        grid = TokenGrid(size, patch, mode, prefix=tower.prefix)
        return cls(
            model, tokenizer, tower, grid, lambda side: image_transform_v2(replace(cfg, size=side), is_train=False)
        )

    @classmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> OpenClipEncoder:
        """Load a checkpoint, see `load_weights` for its forms; the whole model takes `dtype`, text tower included."""
        if plain := load_plain_weights(weights):
            model = plain.model.to(device=device, dtype=dtype)
            make_perturbable(model.visual.attn_pool.attn, MultiheadAttentionSite)
            tower = cut_transformer(model.visual)
            grid = TokenGrid(model.visual.image_size, model.visual.patch_size, "center_crop")
            return cls(model, plain.tokenizer, tower, grid, plain.transform_for)
        other, tokenizer = load_weights(weights)
        return cls.from_model(other.to(device=device, dtype=dtype), tokenizer)

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse unknown models and tags, missing files, and folders that lack a file."""
        check_weights(weights)

    @classmethod
    def spec(cls, weights: str) -> EncoderSpec:
        """By the model's configuration; without one, those of ViT-L/14."""
        return read_spec(weights)

    @classmethod
    def resolution(cls, weights: str) -> tuple[int, int] | None:
        """By the folder's configuration or the table of open_clip's models; None for others, and towers of timm."""
        return read_resolution(weights)

    def resize(self, image_size: int) -> None:
        """As open_clip's and timm's own interpolation; see `Encoder.resize`."""
        if image_size == self.grid.image_size:
            return
        whole = self.grid.patch == self.grid.image_size  # a tower in one piece, whose patches are its own matter
        if not whole:
            check_side(image_size, self.grid.patch, self.title)
        resize_tower(self.model.visual, image_size)
        self.grid = replace(self.grid, image_size=image_size, patch=image_size if whole else self.grid.patch)
        self._transform = self._transform_for(image_size)

    def preprocess(self, image: Image.Image) -> Tensor:
        """open_clip's own inference transform for this model: float32 [3, S, S]."""
        if self.grid.mode == "center_crop":
            image = _crop_extreme(image)
        pixels: Tensor = self._transform(image)
        return pixels

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] as attention pooling sees them; for towers without it, the photo's vector [B, 1, D]."""
        return self._tower.backbone(pixels.to(self.device, self.dtype))

    @torch.no_grad()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, 1, D]; see `Encoder.embed`."""
        with self.perturbing(tokens, objects, perturbation, "itc"):
            pooled = self._tower.pool(tokens.to(self.device, self.dtype))
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
            input_ids: int64 [T, L] instead; L is the model's context length, shorter texts are padded with its pad id.
            attention_mask: [T, L], 0 where `input_ids` count as padding.

        Raises:
            QpertError: an id that the model has no word for.
        """
        given = self.given_texts(texts, input_ids)
        if given is not None:
            input_ids = self.tokenizer(given)
        assert input_ids is not None
        words = vocabulary_size(self.model)
        if words is not None and input_ids.numel() and input_ids.max() >= words:
            raise QpertError(
                f"a text has the token id {int(input_ids.max()):,}, but the model {words:,} words: the tokenizer is"
                " of another model"
            )
        if attention_mask is not None:
            pad = getattr(self.model, "pad_id", getattr(getattr(self.model, "text", None), "pad_id", 0))
            input_ids = input_ids.masked_fill(attention_mask == 0, pad)
        parts = [
            self.model.encode_text(part.to(self.device), normalize=False).float()
            for part in torch.split(input_ids, _TEXTS_AT_ONCE)
        ]
        return F.normalize(torch.cat(parts), dim=-1)

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """By the tokenizer's context length; see `Encoder.read_texts`."""
        return read_texts(self.tokenizer, texts)

    def sites(self) -> Mapping[str, nn.Module]:
        """The cross-attention of attention pooling; none for towers without it."""
        return self._tower.sites


class CocaEncoder(OpenClipEncoder):
    """The same under the name that it had when CoCa was the only model of open_clip here."""

    name = "coca"
    title = "CoCa"


def _crop_extreme(image: Image.Image) -> Image.Image:
    """Cut the ends off a photo of extreme shape before it is resized, as they are cropped afterwards anyway.

    A photo of 1 x 100,000 pixels, resized to 224 on the shorter side, would take 15 GB.
    """
    longest = _EXTREME * min(image.size)
    left, top = (max(0, side - longest) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image
