"""BLIP-2 on transformers: contrast with 32 vectors per photo, matching, and captions; a Q-Former's cross-attentions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2
from transformers import Blip2ForImageTextRetrieval

from pipeline.encoders.base import Encoder
from pipeline.encoders.beam_search import Decoding
from pipeline.encoders.blip2_text import MAX_LENGTH, clean
from pipeline.encoders.blip2_weights import Blip2Weights, check_weights, load_weights
from pipeline.encoders.captioning import CaptionWriter
from pipeline.encoders.language_head import build_language_head
from pipeline.encoders.qformer import qformer_sites
from pipeline.errors import QpertError
from pipeline.objects import Objects, TokenGrid
from pipeline.perturbation import Perturbation

MINIATURE = Path(__file__).parent.parent / "miniature" / "blip2"
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BERT_SEP, _BERT_LENGTH = 102, 512
_PAIRS = 128
"""Photo-text pairs in one matching pass."""


class Blip2Encoder(Encoder):
    """`transformers.Blip2ForImageTextRetrieval` with objects acting on the Q-Former's cross-attentions.

    Each of its query tokens gives a vector, V = 32. The Q-Former and the heads compute in float32 whatever the dtype of
    the vision tower, as transformers keeps them. The model's own `forward` is never called: it takes texts that carry
    image tokens of their own in some saved configurations and not in others.
    """

    name = "blip2"

    def __init__(
        self, model: Blip2ForImageTextRetrieval, tokenizer: Any, head: nn.Module | None, decoding: Decoding
    ) -> None:
        """Use `from_model` or `load`."""
        self.model, self.tokenizer, self.head, self.decoding = model, tokenizer, head, decoding
        vision = model.config.vision_config
        self.grid = TokenGrid(_square(vision.image_size), _square(vision.patch_size), "squash")
        self.vectors, self.dim = model.query_tokens.shape[1], model.vision_projection.out_features
        patches = model.vision_model.embeddings.patch_embedding.weight
        self.device, self.dtype = patches.device, patches.dtype
        self._sites = {f"qformer.{name}": site for name, site in qformer_sites(model.qformer).items()}
        size = [self.grid.image_size] * 2
        self._transform = v2.Compose(
            [
                v2.Resize(size, v2.InterpolationMode.BICUBIC),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(_CLIP_MEAN, _CLIP_STD),
            ]
        )

    @classmethod
    def from_model(
        cls,
        model: Blip2ForImageTextRetrieval,
        tokenizer: Any = None,
        lm_head: Mapping[str, Tensor] | None = None,
        decoding: Decoding | None = None,
    ) -> Blip2Encoder:
        """Build around a model that exists; its cross-attentions become perturbable, it is set to eval mode.

        Args:
            model: of any size, with the Q-Former's text side (`use_qformer_text_input`).
            tokenizer: a transformers tokenizer of BERT's kind, with `[DEC]` as its bos token where captions are wanted;
                None: texts are given as ids, and captions come as ids.
            lm_head: weights for captions, see `build_language_head`; None: no captions.
            decoding: how captions are written by default.

        Raises:
            QpertError: not such a model, or weights of another one.
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
    def load(cls, weights: str | None, device: torch.device, dtype: torch.dtype) -> Blip2Encoder:
        """Load a checkpoint, see `load_weights` for its forms; None or "miniature" is the bundled one.

        The vision tower takes `dtype`; all that follows it is float32.

        Raises:
            QpertError: with what to do, if the weights are unknown, missing, out of reach or do not fit.
        """
        if weights is None or weights == "miniature":
            if not (MINIATURE / "config.json").is_file():
                raise QpertError(
                    f"the miniature BLIP-2 is not in {MINIATURE}; make it with `qpert train-miniature blip2`"
                )
            weights = str(MINIATURE)
        found: Blip2Weights = load_weights(weights)
        found.model.vision_model.to(dtype)
        encoder = cls.from_model(found.model.to(device), found.tokenizer, found.lm_head, found.decoding)
        return encoder

    @classmethod
    def check_weights(cls, weights: str) -> None:
        """Refuse files and folders that are not there or lack a part; a hub id is only asked for when loading."""
        check_weights(weights)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Both sides squashed to S by PIL's bicubic filter, CLIP's mean and deviation: float32 [3, S, S]."""
        pixels: Tensor = self._transform(image.convert("RGB"))
        return pixels

    @torch.no_grad()
    def backbone(self, pixels: Tensor) -> Tensor:
        """Tokens [B, N, C] after the vision tower's last LayerNorm; the first is [CLS]."""
        tokens: Tensor = self.model.vision_model(pixels.to(self.device, self.dtype)).last_hidden_state
        return tokens

    @torch.no_grad()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, V, D]; see `Encoder.embed`."""
        tokens = self._tokens(tokens)
        queries = self.model.query_tokens.expand(len(tokens), -1, -1)
        with self.perturbing(len(tokens), objects, perturbation, "itc"):
            states = self.model.qformer(query_embeds=queries, encoder_hidden_states=tokens).last_hidden_state
        return F.normalize(self.model.vision_projection(states), dim=-1)

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
            texts: strings, cleaned as LAVIS does and cut at `max_text_length` tokens.
            input_ids: int64 [T, L] instead, beginning with [CLS].
            attention_mask: [T, L], 1 = keep; None: all but the padding id.
        """
        ids, mask = self._ids(texts, input_ids, attention_mask)
        states = self.model.qformer(
            query_embeds=self.model.embeddings(input_ids=ids), query_length=0, attention_mask=mask
        ).last_hidden_state
        return F.normalize(self.model.text_projection(states[:, 0]), dim=-1)

    @torch.no_grad()
    def match(
        self,
        tokens: Tensor,
        texts: Sequence[str] | None = None,
        objects: Sequence[Objects] | None = None,
        perturbation: Perturbation | None = None,
        *,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The matching head's logit for "match", mean over the queries (LAVIS ranks by it); see `Encoder.match`."""
        ids, mask = self._ids(texts, input_ids, attention_mask)
        tokens = self._tokens(tokens)
        photos = len(tokens)
        if len(ids) == 1:
            ids, mask = ids.expand(photos, -1), mask.expand(photos, -1)
        if not photos or len(ids) % photos:
            raise QpertError(f"{len(ids)} texts cannot be shared evenly among {photos} photos")
        ids, mask = (each.unflatten(0, (photos, -1)) for each in (ids, mask))
        step = max(1, _PAIRS // photos)
        with self.perturbing(photos, objects, perturbation, "itm"):
            parts = [
                self._match(
                    tokens, ids[:, start : start + step].flatten(0, 1), mask[:, start : start + step].flatten(0, 1)
                )
                for start in range(0, ids.shape[1], step)
            ]
        return torch.cat([part.unflatten(0, (photos, -1)) for part in parts], 1).flatten()

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

    @torch.no_grad()
    def caption(
        self,
        tokens: Tensor,
        objects: Sequence[Objects] | None = None,
        perturbation: Perturbation | None = None,
        *,
        prompt: str = "",
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        eos_token_id: int | None = None,
        **decoding: Any,
    ) -> list[str]:
        """A caption of each photo, by the Q-Former's language head (LAVIS' `generate`).

        Args:
            tokens: [B, N, C] from `backbone`.
            objects: one `Objects` per photo.
            perturbation: acts where its stages include `lm`.
            prompt: how the caption shall begin.
            input_ids: int64 [1 or B, P] instead, beginning with [DEC].
            attention_mask: [1 or B, P]; prompts must be of one length, so all of it is 1.
            eos_token_id: what ends a caption; None: the tokenizer's [SEP], or BERT's.
            decoding: `num_beams`, `max_length`, `min_length` (see `Decoding`), where they differ from the encoder's.

        Returns:
            The captions without the prompt's special tokens; without a tokenizer the ids instead, from [DEC] to [SEP].

        Raises:
            QpertError: no language head, or prompts of several lengths.
        """
        if self.head is None:
            raise QpertError(
                "these weights have no language head, which transformers' BLIP-2 leaves out: add the LAVIS checkpoint, as"
                " in --weights Salesforce/blip2-itm-vit-g-coco+blip2_finetune_coco.pth"
            )
        tokens = self._tokens(tokens)
        if attention_mask is not None and not attention_mask.all():
            raise QpertError("prompts must be of one length; write the captions of each length apart")
        begin = self._prompt(prompt) if input_ids is None else input_ids
        with self.perturbing(len(tokens), objects, perturbation, "lm"):
            writer = CaptionWriter(self.model, self.head, tokens)
        end = self._special("sep_token_id", _BERT_SEP) if eos_token_id is None else eos_token_id
        if end >= self.model.embeddings.word_embeddings.num_embeddings:
            raise QpertError(f"token {end} cannot end a caption of this model: it has no such token; give eos_token_id")
        chosen = Decoding(**{**vars(self.decoding), **decoding})
        rows = writer.write(begin.to(self.device).expand(len(tokens), -1), chosen, end)
        if self.tokenizer is None:
            return rows  # type: ignore[return-value]
        return [text.strip() for text in self.tokenizer.batch_decode(rows, skip_special_tokens=True)]

    def sites(self) -> Mapping[str, nn.Module]:
        """The Q-Former's cross-attentions, six in BLIP-2."""
        return self._sites

    @cached_property
    def max_text_length(self) -> int:
        """Tokens of a text at most: LAVIS' 35, unless the tokenizer was made for another length than BERT's."""
        made_for = self.tokenizer.model_max_length
        return int(made_for) if made_for < _BERT_LENGTH else MAX_LENGTH

    def _tokens(self, tokens: Tensor) -> Tensor:
        return tokens.to(self.device, torch.float32)

    def _ids(
        self, texts: Sequence[str] | None, input_ids: Tensor | None, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Ids and mask, int64 [T, L]."""
        if (texts is None) == (input_ids is None):
            raise QpertError("give either texts or input_ids")
        if input_ids is None:
            if self.tokenizer is None:
                raise QpertError("this BLIP-2 was built without a tokenizer; give input_ids instead of texts")
            cleaned = [clean(text) for text in ([texts] if isinstance(texts, str) else texts or ())]
            found = self.tokenizer(
                cleaned, padding=True, truncation=True, max_length=self.max_text_length, return_tensors="pt"
            )
            input_ids, attention_mask = found["input_ids"], found["attention_mask"]
        if attention_mask is None:
            attention_mask = input_ids != (self.model.config.qformer_config.pad_token_id or 0)
        return input_ids.to(self.device), attention_mask.to(self.device, torch.int64)

    def _prompt(self, text: str) -> Tensor:
        ids = [self._special("bos_token_id", self.model.embeddings.word_embeddings.num_embeddings - 1)]
        if text:
            if self.tokenizer is None:
                raise QpertError("this BLIP-2 was built without a tokenizer; give input_ids instead of a prompt")
            ids += self.tokenizer(clean(text), add_special_tokens=False)["input_ids"]
        return torch.tensor([ids])

    def _special(self, name: str, otherwise: int) -> int:
        """LAVIS writes from [DEC], the last word of the vocabulary, to [SEP]."""
        found = getattr(self.tokenizer, name, None)
        return otherwise if found is None else int(found)


def _square(size: int | Sequence[int]) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise QpertError(f"BLIP-2 is supported for square images and patches only, got {size}")
    return int(sides.pop())
