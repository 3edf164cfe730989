"""SigLIP's tokenizers, by transformers, and how texts are filled up: to the full length, as the models were trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Siglip2Tokenizer, SiglipTokenizer

from pipeline.encoders.reading import Reading, make_reading
from pipeline.encoders.tokenizer_files import load_tokenizer
from pipeline.errors import QpertError
from pipeline.io.tokenizer_files import check_tokenizer

FAST, SENTENCE_PIECES = "tokenizer.json", "spiece.model"
_GEMMA = ("GemmaTokenizer", "Siglip2Tokenizer")


def check_tokenizer_files(folder: Path) -> str | None:
    """The class that the tokenizer of `folder` names, see `check_tokenizer`.

    Raises:
        QpertError: files that are missing or lead to code.
        OSError, ValueError: a file is damaged.
    """
    named = check_tokenizer(folder)
    wanted = [FAST] if named not in (None, "SiglipTokenizer") else [FAST, SENTENCE_PIECES]
    if not any((folder / name).is_file() for name in wanted):
        raise QpertError(f"{folder} has no tokenizer: put the model's own there ({' or '.join(wanted)})")
    return named


def read_tokenizer(folder: Path, *, native: bool) -> Any:
    """The tokenizer in `folder`.

    SigLIP 2 has Gemma's vocabulary and was trained on texts in lower case. transformers sees to that for NaFlex only,
    by `Siglip2Tokenizer`, because the published folders of fixed resolution name `GemmaTokenizer`; here both have it.
    The first SigLIP has SentencePiece, without punctuation and in lower case.

    Args:
        folder: with tokenizer.json, or spiece.model.
        native: whether the model is NaFlex.

    Raises:
        QpertError: see `check_tokenizer_files`.
        OSError, ValueError, KeyError, TypeError: files that are damaged.
    """
    named = check_tokenizer_files(folder)
    if native or named in _GEMMA:
        return Siglip2Tokenizer.from_pretrained(str(folder))
    if named in (None, "SiglipTokenizer") and (folder / SENTENCE_PIECES).is_file():
        return SiglipTokenizer.from_pretrained(str(folder))
    return load_tokenizer(folder)


def text_ids(tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
    """Token ids int64 [T, length], cut or filled up; the models see the filling too, so there is no mask."""
    if not texts:
        return torch.zeros(0, length, dtype=torch.int64)
    options = {"padding": "max_length", "truncation": True, "max_length": length}
    ids: Tensor = tokenizer(list(texts), return_tensors="pt", **options)["input_ids"]
    return ids


def read_texts(tokenizer: Any, texts: Sequence[str], length: int) -> Reading:
    """Which texts are longer than `length` tokens; see `Encoder.read_texts`."""
    cut = [len(ids) > length for ids in tokenizer(list(texts), verbose=False)["input_ids"]]
    return make_reading(
        length, cut, tokenizer, lambda: tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    )
