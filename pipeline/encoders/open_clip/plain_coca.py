"""CoCa's two contrastive towers in plain torch, computed as by open_clip, to the last bit.

open_clip itself takes 4 s of CPU to import in every actor: it brings torchvision and torch._dynamo with it, and
transformers. Its model is built (`weights.py`) for everything that `is_plain` excludes. Parameters are named as in
open_clip's weights; the caption decoder among them, which retrieval does not use, is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.encoders.open_clip.config import ModelConfig

_SIZES = {
    "vision_cfg": {
        "image_size", "patch_size", "width", "layers", "head_width", "attentional_pool", "attn_pooler_queries",
        "attn_pooler_heads", "output_tokens", "mlp_ratio",
    },
    "text_cfg": {
        "context_length", "vocab_size", "width", "heads", "layers", "pool_type", "eos_id", "pad_id", "output_tokens",
        "mlp_ratio",
    },
}  # fmt: skip
"""Keys of the towers that a plain CoCa may have: sizes."""
DECODER = "text_decoder."
"""What the names of the caption decoder's weights begin with."""


def is_plain(config: ModelConfig, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether the weights are exactly those of a `PlainCoca` of this configuration, and of some caption decoder.

    Args:
        config: the model's.
        shapes: name -> shape of the weights in its file.
    """
    given = config.given()
    vision, text = config.vision_cfg, config.text_cfg
    if given.keys() - {"embed_dim", "vision_cfg", "text_cfg", "multimodal_cfg", "pad_id", "custom_text"}:
        return False
    if config.multimodal_cfg is None or not isinstance(vision.layers, int):
        return False
    if any(given[tower].keys() - sizes for tower, sizes in _SIZES.items()):
        return False
    if vision.attentional_pool is not True or text.pool_type != "eos":
        return False
    if not (isinstance(vision.image_size, int) and isinstance(vision.patch_size, int)):
        return False
    if vision.width % vision.head_width or text.width % text.heads or config.embed_dim % vision.attn_pooler_heads:
        return False
    # Before anything is built: a configuration may ask for a tower that no memory holds.
    words, positions = shapes.get("text.token_embedding.weight"), shapes.get("visual.positional_embedding")
    if words != (text.vocab_size, text.width) or positions is None or positions[1:] != (vision.width,):
        return False
    with torch.device("meta"):
        needed = {name: tuple(value.shape) for name, value in PlainCoca(config).state_dict().items()}
    return needed == {name: shape for name, shape in shapes.items() if not name.startswith(DECODER)}


def load_plain_coca(config: ModelConfig, weights: Path) -> PlainCoca:
    """The model in a safetensors file that `is_plain`, on the CPU in float32.

    Raises:
        OSError, SafetensorError: the file cannot be read.
    """
    with torch.device("meta"):
        model = PlainCoca(config)
    given = {name: value for name, value in load_file(weights).items() if not name.startswith(DECODER)}
    # Copied into memory of torch's own: kernels may round differently where tensors are aligned as in the file.
    copies = {name: value.to(torch.float32, copy=True) for name, value in given.items()}
    model.load_state_dict(copies, assign=True)
    return model


class PlainCoca(nn.Module):
    """A CoCa without its caption decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.visual = VisionTower(config)
        self.text = TextTower(config)
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.pad_id = config.pad_id

    def encode_text(self, ids: Tensor, normalize: bool = True) -> Tensor:
        """Vectors [T, D] of token ids int64 [T, L], where L is the context length."""
        vectors: Tensor = self.text(ids)
        return nn.functional.normalize(vectors, dim=-1) if normalize else vectors


class VisionTower(nn.Module):
    """A vision transformer with [CLS] in front, and its attention pooler."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes, width = config.vision_cfg, config.vision_cfg.width
        assert isinstance(sizes.image_size, int)
        assert isinstance(sizes.patch_size, int)
        assert isinstance(sizes.layers, int)
        self.image_size, self.patch_size = sizes.image_size, sizes.patch_size
        self.conv1 = nn.Conv2d(3, width, self.patch_size, stride=self.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((self.image_size // self.patch_size) ** 2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Blocks(width, sizes.layers, width // sizes.head_width, sizes.mlp_ratio)
        self.attn_pool = AttentionPooler(config.embed_dim, width, sizes.attn_pooler_heads, sizes.attn_pooler_queries)
        self.ln_post = nn.LayerNorm(config.embed_dim)
        self.proj = nn.Parameter(torch.empty(config.embed_dim, config.embed_dim))

    # Named as in open_clip, so that the encoder need not know which of the two models it has.
    def _embeds(self, pixels: Tensor) -> Tensor:
        """Photos [B, 3, S, S] to what enters the transformer, [B, N, C]."""
        patches = self.conv1(pixels).flatten(2).permute(0, 2, 1)
        first = self.class_embedding.view(1, 1, -1).expand(len(pixels), -1, -1)
        tokens: Tensor = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        return tokens

    def _pool(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, C] to what the pooler's first query finds, [B, D], and the others; neither is projected yet."""
        pooled = self.ln_post(self.attn_pool(tokens))
        return pooled[:, 0], pooled[:, 1:]


class AttentionPooler(nn.Module):
    """Learned queries that attend to all tokens."""

    def __init__(self, dim: int, width: int, heads: int, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(queries, dim))
        self.attn = nn.MultiheadAttention(dim, heads, kdim=width, vdim=width, batch_first=True)
        self.ln_q, self.ln_k = nn.LayerNorm(dim), nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] to [B, queries, D]."""
        keys = self.ln_k(tokens)
        queries = self.ln_q(self.query).unsqueeze(0).expand(len(tokens), -1, -1)
        pooled: Tensor = self.attn(queries, keys, keys, need_weights=False)[0]
        return pooled


class TextTower(nn.Module):
    """A causal transformer; a text's vector is that of its end token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes, width = config.text_cfg, config.text_cfg.width
        self.context_length, self.eos_id = sizes.context_length, sizes.eos_id
        # Not `nn.Embedding(...)`: drawing its weights on the meta device imports torch._dynamo.
        self.token_embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            torch.empty(sizes.vocab_size, width), freeze=False
        )
        self.positional_embedding = nn.Parameter(torch.empty(sizes.context_length, width))
        self.transformer = Blocks(width, sizes.layers, sizes.heads, sizes.mlp_ratio)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [T, D] of token ids int64 [T, L]."""
        length = self.context_length
        states = self.token_embedding(ids) + self.positional_embedding
        mask = torch.full((length, length), -torch.inf, dtype=states.dtype, device=states.device).triu(1)
        states = self.ln_final(self.transformer(states, mask))
        end = (ids == self.eos_id).int().argmax(-1)
        vectors: Tensor = states[torch.arange(ids.shape[0], device=ids.device), end] @ self.text_projection
        return vectors


class Blocks(nn.Module):
    """Pre-norm blocks in sequence."""

    def __init__(self, width: int, layers: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, int(width * mlp_ratio)) for _ in range(layers))

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L, C] to [B, L, C]; the mask [L, L] is added to the scores."""
        for block in self.resblocks:
            states = block(states, mask)
        return states


class Block(nn.Module):
    """Attention and MLP."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        parts = OrderedDict(c_fc=nn.Linear(width, inner), gelu=nn.GELU(), c_proj=nn.Linear(inner, width))
        self.mlp = nn.Sequential(parts)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """[B, L, C] to [B, L, C]."""
        normed = self.ln_1(states)
        states = states + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        moved: Tensor = states + self.mlp(self.ln_2(states))
        return moved
