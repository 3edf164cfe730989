"""The code that the two BLIP-2 encoders, on transformers and on LAVIS, share: everything but the model itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.encoders.base import Encoder
from pipeline.encoders.blip2.beam_search import Decoding
from pipeline.encoders.blip2.inputs import photo_transform
from pipeline.encoders.blip2.sizes import read_spec
from pipeline.encoders.blip2.text_inputs import MAX_WORDS, clean, exceeds_max_words, max_text_length, read_texts
from pipeline.encoders.reading import Reading
from pipeline.encoders.spec import EncoderSpec
from pipeline.errors import QpertError
from pipeline.method.objects import Objects, TokenGrid
from pipeline.method.settings import Perturbation

_BERT_SEP = 102
_PAIRS = 128
"""Photo-text pairs in one matching pass."""


class Blip2Family(Encoder):
    """Contrast, matching and captions by a Q-Former whose cross-attentions see objects.

    Each query token gives a vector, V = 32. All that follows the vision tower computes in float32 whatever its dtype.

    Args:
        tokenizer: a transformers tokenizer of BERT's kind, with `[DEC]` as its bos token if captions are wanted; None:
            texts are given as ids, and captions are returned as ids.
        grid: how a photo is cut into tokens.
        sites: the cross-attentions, in the order they run.
        decoding: how captions are written by default.
    """

    title = "BLIP-2"
    grid: TokenGrid

    def __init__(self, tokenizer: Any, grid: TokenGrid, sites: Mapping[str, nn.Module], decoding: Decoding) -> None:
        self.tokenizer, self.grid, self.decoding = tokenizer, grid, decoding
        self._sites = sites
        self._transform: Callable[[Image.Image], Tensor] = photo_transform(grid.image_size)

    @abstractmethod
    def _look(self, tokens: Tensor) -> Tensor:
        """The projected query states [B, V, D] of photos."""

    @abstractmethod
    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The projected [CLS] states [T, D] of texts."""

    @abstractmethod
    def _match(self, tokens: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Matching logits [r B] of photos [B, N, C] with texts [r B, L]; r consecutive texts belong to one photo."""

    @abstractmethod
    def _write(self, tokens: Tensor, prompt: Tensor, decoding: Decoding, end: int) -> list[list[int]]:
        """Ids of captions, without padding, for photos [B, N, C]; captions begin with `prompt` [B, P]."""

    def _check_writes(self) -> None:
        """Raise QpertError if this model has no language head."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    @abstractmethod
    def positions(self) -> int:
        """Tokens of the longest text that the model has positions for."""

    @classmethod
    def spec(cls, weights: str) -> EncoderSpec:
        """By the files of a folder; else those of the published model at 364 pixels."""
        return read_spec(weights)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Both sides squashed to S by PIL's bicubic filter, CLIP's mean and standard deviation: float32 [3, S, S]."""
        return self._transform(image.convert("RGB"))

    @torch.no_grad()
    def embed(
        self, tokens: Tensor, objects: Sequence[Objects] | None = None, perturbation: Perturbation | None = None
    ) -> Tensor:
        """Unit vectors float32 [B, V, D]; see `Encoder.embed`."""
        with self.perturbing(tokens, objects, perturbation, "itc"):
            return F.normalize(self._look(self._tokens(tokens)), dim=-1)

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
            texts: strings, cleaned as by LAVIS and cut at `max_text_length` tokens.
            input_ids: int64 [T, L] instead, beginning with [CLS].
            attention_mask: [T, L], 1 = keep; None keeps all but the padding id, 0.
        """
        return F.normalize(self._read(*self._ids(texts, input_ids, attention_mask)), dim=-1)

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
        """The matching head's logit for "match", averaged over the queries, as LAVIS ranks; see `Encoder.match`."""
        ids, mask = self._ids(texts, input_ids, attention_mask)
        tokens = self._tokens(tokens)
        photos = len(tokens)
        if len(ids) == 1:
            ids, mask = ids.expand(photos, -1), mask.expand(photos, -1)
        if not photos or len(ids) % photos:
            raise QpertError(f"{len(ids)} texts cannot be shared evenly among {photos} photos")
        by_photo = ids.view(photos, -1, ids.shape[1]), mask.view(photos, -1, ids.shape[1])
        step = max(1, _PAIRS // photos)
        with self.perturbing(tokens, objects, perturbation, "itm"):
            parts = []
            for start in range(0, by_photo[0].shape[1], step):
                chunk = (rows[:, start : start + step].flatten(0, 1) for rows in by_photo)
                parts.append(self._match(tokens, *chunk).view(photos, -1))
        return torch.cat(parts, 1).flatten()

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
            prompt: beginning of the caption.
            input_ids: int64 [1 or B, P] instead, beginning with [DEC].
            attention_mask: [1 or B, P]; all 1, as prompts must have the same length.
            eos_token_id: token that ends a caption; None: the tokenizer's [SEP], or BERT's.
            decoding: `num_beams`, `max_length`, `min_length` (see `Decoding`), if they differ from the encoder's.

        Returns:
            The captions without special tokens; without a tokenizer the ids instead, from [DEC] to [SEP].

        Raises:
            QpertError: no language head, prompts of several lengths, or an end token that the model does not have.
        """
        self._check_writes()
        if attention_mask is not None and not attention_mask.all():
            raise QpertError("prompts must be of one length; write the captions of each length separately")
        end = self._special("sep_token_id", _BERT_SEP) if eos_token_id is None else eos_token_id
        if end >= self.vocabulary:
            raise QpertError(f"token {end} cannot end a caption: this model does not have it; give eos_token_id")
        begin = (self._prompt(prompt) if input_ids is None else input_ids).to(self.device).expand(len(tokens), -1)
        chosen = Decoding(**{**vars(self.decoding), **decoding})
        if not begin.shape[1] < chosen.max_length <= self.positions:
            raise QpertError(
                f"captions of {chosen.max_length} tokens (max_length), {begin.shape[1]} of them the prompt, cannot be"
                f" written: the prompt must be shorter, and the model has positions for {self.positions}"
            )
        with self.perturbing(tokens, objects, perturbation, "lm"):
            rows = self._write(self._tokens(tokens), begin, chosen, end)
        if self.tokenizer is None:
            return rows  # type: ignore[return-value]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        return [text.strip() for text in texts]

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """By `max_text_length`, or LAVIS' 50 words; see `Encoder.read_texts`."""
        return None if self.tokenizer is None else read_texts(self.tokenizer, texts, verbose=False)

    def sites(self) -> Mapping[str, nn.Module]:
        """The Q-Former's cross-attentions, six in BLIP-2."""
        return self._sites

    @cached_property
    def max_text_length(self) -> int:
        """Most tokens of a text: LAVIS' 35, unless the tokenizer was made for another length than BERT's."""
        return max_text_length(self.tokenizer)

    def _tokens(self, tokens: Tensor) -> Tensor:
        return tokens.to(self.device, torch.float32)

    def _ids(
        self, texts: Sequence[str] | None, input_ids: Tensor | None, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Ids and mask, int64 [T, L]."""
        given = self.given_texts(texts, input_ids)
        if given is not None:
            if not given:
                raise QpertError("there are no texts")
            encoded = self.tokenizer(
                [clean(text) for text in given],
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=self.max_text_length,
                return_tensors="pt",
            )
            input_ids, attention_mask = encoded["input_ids"], encoded["attention_mask"]
        assert input_ids is not None
        if attention_mask is None:
            attention_mask = input_ids != self._special("pad_token_id", 0)
        return input_ids.to(self.device), attention_mask.to(self.device, torch.int64)

    def _prompt(self, text: str) -> Tensor:
        ids = [self._special("bos_token_id", self.vocabulary - 1)]
        if text:
            if self.tokenizer is None:
                raise QpertError("this BLIP-2 was built without a tokenizer; give input_ids instead of a prompt")
            if exceeds_max_words(text):
                raise QpertError(f"a prompt of more than {MAX_WORDS} words would be cut; make it shorter")
            words = self.tokenizer(clean(text), add_special_tokens=False)["input_ids"]
            if self.tokenizer.unk_token_id in words:
                raise QpertError(f"the prompt {text!r} has words that this model does not know")
            ids += words
        return torch.tensor([ids])

    def _special(self, name: str, otherwise: int) -> int:
        """Id of a special token. LAVIS writes from [DEC], the last word of the vocabulary, to [SEP]."""
        number = getattr(self.tokenizer, name, None)
        return otherwise if number is None else int(number)
