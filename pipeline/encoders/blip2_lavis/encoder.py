"""BLIP-2 by salesforce-lavis, the paper's own library; runs only in a process with LAVIS' environment.

The vision tower, the Q-Former and the writing of captions are LAVIS' own classes; only the perturbation in their
cross-attentions is added. Imports of lavis stand inside functions, as only that environment has it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.encoders.blip2.beam_search import Decoding
from pipeline.encoders.blip2.family import Blip2Family
from pipeline.encoders.blip2.lavis_checkpoint import HEAD, Sizes, check_files, read_checkpoint
from pipeline.encoders.blip2_lavis import environment as lavis_environment
from pipeline.encoders.weight_files import check_shapes
from pipeline.errors import QpertError
from pipeline.io.model_weights import split_weights
from pipeline.io.tokenizer_files import check_tokenizer
from pipeline.method.objects import TokenGrid

_ORPHAN = f"{HEAD}bias"
"""A second bias of the language head, which keeps the size of BERT's vocabulary and is never read."""


class Blip2LavisEncoder(Blip2Family):
    """LAVIS' `Blip2Qformer` under the contract of `Blip2Encoder`, with the same weights."""

    name = "blip2-lavis"

    def __init__(self, model: Any) -> None:
        """Use `from_model` or `load`."""
        from pipeline.encoders.blip2_lavis.site import lavis_sites

        patches = model.visual_encoder.patch_embed
        grid = TokenGrid(patches.img_size[0], patches.patch_size[0], "squash")
        sites = {f"Qformer.{name}": site for name, site in lavis_sites(model.Qformer).items()}
        super().__init__(model.tokenizer, grid, sites, Decoding())
        self.model = model
        self.vectors, self.dim = model.query_tokens.shape[1], model.vision_proj.out_features
        self.device, self.dtype = patches.proj.weight.device, patches.proj.weight.dtype

    @classmethod
    def from_model(cls, model: Any) -> Blip2LavisEncoder:
        """Wrap an existing `Blip2Qformer`; its cross-attentions become perturbable."""
        return cls(model.eval().requires_grad_(False))

    @classmethod
    def load(cls, weights: str, device: torch.device, dtype: torch.dtype) -> Blip2LavisEncoder:
        """Load `FILE.pth` or `FILE.pth+eva_vit_g.pth`; the tokenizer comes from the same folder or the hub.

        Raises:
            QpertError: no such files, or this process does not have LAVIS' environment.
        """
        cls.check_weights(weights)
        lavis_environment.activate()
        first, second = split_weights(weights)
        state = read_checkpoint(Path(first), Path(second) if second else None)
        model = _build(Sizes.of(state, Path(first)), Path(first).parent)
        _fill(model, state, first)
        model.visual_encoder.to(dtype)
        return cls.from_model(model.to(device))

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse anything but a LAVIS checkpoint."""
        if not split_weights(weights)[0].endswith(".pth"):
            raise QpertError(
                f"blip2-lavis opens LAVIS' checkpoints: give --weights FILE.pth, not {weights!r} (the encoder blip2 has"
                " a miniature, and opens hub ids)"
            )
        check_files(weights)

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] after `ln_vision`; the first is [CLS]."""
        tokens: Tensor = self.model.ln_vision(self.model.visual_encoder(pixels.to(self.device, self.dtype)))
        return tokens

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return int(self.model.Qformer.bert.embeddings.word_embeddings.num_embeddings)

    @property
    def positions(self) -> int:
        """Tokens of the longest text."""
        return int(self.model.Qformer.bert.embeddings.position_embeddings.num_embeddings)

    def _look(self, tokens: Tensor) -> Tensor:
        states = self.model.Qformer.bert(
            query_embeds=self.model.query_tokens.expand(len(tokens), -1, -1),
            encoder_hidden_states=tokens,
            encoder_attention_mask=_ones(tokens),
            return_dict=True,
        ).last_hidden_state
        projected: Tensor = self.model.vision_proj(states)
        return projected

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.model.Qformer.bert(ids, attention_mask=mask, return_dict=True).last_hidden_state
        projected: Tensor = self.model.text_proj(states[:, 0])
        return projected

    def _match(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.model.compute_itm(tokens.repeat_interleave(len(ids) // len(tokens), 0), ids, mask)
        return scores

    def _write(self, tokens: Tensor, prompt: Tensor, decoding: Decoding, end: int) -> list[list[int]]:
        """LAVIS' own beam search, which runs the queries again at every step."""
        rows = tokens.repeat_interleave(decoding.num_beams, 0)
        written = self.model.Qformer.generate(
            input_ids=prompt,
            query_embeds=self.model.query_tokens.expand(len(rows), -1, -1),
            encoder_hidden_states=rows,
            encoder_attention_mask=_ones(rows),
            eos_token_id=end,
            pad_token_id=self._special("pad_token_id", 0),
            do_sample=False,
            **vars(decoding),
        ).tolist()
        return [row[: row.index(end) + 1] if end in row else row for row in written]


def _ones(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.int64, device=tokens.device)


def _build(sizes: Sizes, folder: Path) -> Any:
    """LAVIS' model in these sizes; the parts that it would download are made here."""
    from lavis.models.blip2_models.blip2 import LayerNorm
    from lavis.models.blip2_models.blip2_qformer import Blip2Qformer
    from lavis.models.blip2_models.Qformer import BertConfig, BertLMHeadModel
    from lavis.models.eva_vit import VisionTransformer
    from transformers import BertTokenizer

    class Offline(Blip2Qformer):  # type: ignore[misc]
        """Differs only in how the parts are made."""

        @classmethod
        def init_tokenizer(cls) -> Any:
            words = folder if (folder / "vocab.txt").is_file() else "bert-base-uncased"
            try:
                check_tokenizer(folder)
                tokenizer = BertTokenizer.from_pretrained(words)
            except (OSError, ValueError) as error:
                raise QpertError(
                    "the tokenizer bert-base-uncased could not be loaded; without a network, put its vocab.txt into"
                    f" {folder}"
                ) from error
            tokenizer.add_special_tokens({"bos_token": "[DEC]"})
            return tokenizer

        @classmethod
        def init_vision_encoder(cls, *_: Any) -> tuple[Any, Any]:
            tower = VisionTransformer(
                img_size=sizes.image_size,
                patch_size=sizes.patch,
                embed_dim=sizes.vision_width,
                depth=sizes.vision_layers,
                num_heads=sizes.vision_heads,
                mlp_ratio=(sizes.vision_mlp + 0.5) / sizes.vision_width,  # LAVIS rounds width * ratio down
                qkv_bias=True,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                use_mean_pooling=False,
            )
            return tower, LayerNorm(tower.num_features)

        @classmethod
        def init_Qformer(cls, count: int, width: int, frequency: int = 2) -> tuple[Any, nn.Parameter]:
            config = BertConfig(
                vocab_size=sizes.vocabulary - 1,  # [DEC] is added afterwards
                hidden_size=sizes.width,
                num_hidden_layers=sizes.layers,
                num_attention_heads=sizes.heads,
                intermediate_size=sizes.mlp,
                max_position_embeddings=sizes.positions,
            )
            config.encoder_width, config.add_cross_attention = width, True
            config.cross_attention_freq, config.query_length = frequency, count
            return BertLMHeadModel(config), nn.Parameter(torch.zeros(1, count, sizes.width))

    return Offline(
        img_size=sizes.image_size,
        vit_precision="fp32",
        num_query_token=sizes.queries,
        cross_attention_freq=sizes.cross_frequency,
        embed_dim=sizes.dim,
    )


def _fill(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    given = {key: value for key, value in state.items() if key != _ORPHAN}
    check_shapes(
        {key: value.shape for key, value in model.state_dict().items() if key != _ORPHAN},
        {key: value.shape for key, value in given.items()},
        f"{name} does not fit LAVIS' BLIP-2",
        "; are the words (vocab.txt) those of the checkpoint?",
    )
    model.load_state_dict(given, strict=False)
