"""Texts to token ids with a `tokenizer.json` file, in the form open_clip's tokenizers have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from pipeline.encoders.reading import Reading, read_words, vocabulary_of


class WordTokenizer:
    """A `tokenizers` file as a function from texts to ids.

    Args:
        path: the `tokenizer.json`.
        context_length: L, length of every sequence: longer ones are cut, shorter ones filled with `pad_id`.
        pad_id: the id to fill with.
    """

    def __init__(self, path: Path | str, context_length: int, pad_id: int = 0) -> None:
        self.context_length = context_length
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.enable_truncation(context_length)
        self._tokenizer.enable_padding(length=context_length, pad_id=pad_id)

    def read(self, texts: Sequence[str]) -> Reading:
        """Which texts are cut, and which have no known word."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        whole.no_padding()
        cut = [len(found.ids) > self.context_length for found in whole.encode_batch(list(texts))]
        words = [found.ids for found in whole.encode_batch(list(texts), add_special_tokens=False)]
        vocabulary = vocabulary_of(whole)
        if vocabulary is None:
            return Reading(self.context_length, cut)
        return read_words(self.context_length, cut, words, vocabulary)

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """int64 [T, L]; one string is one text."""
        batch = [texts] if isinstance(texts, str) else list(texts)
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(batch)]
        return torch.tensor(ids, dtype=torch.int64).reshape(len(batch), self.context_length)
