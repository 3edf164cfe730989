"""The tokenizers of the miniatures: one id for each word of the captions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pipeline.datasets.scenes import vocabulary

CAPTION_WORDS = tuple(word for word in vocabulary() if word != ",")


def build_word_tokenizer(
    words: Sequence[str], context: int, *, pad: str, begin: str, end: str, unknown: str, prompt: str = ""
) -> Tokenizer:
    """A tokenizer of whole words, whatever their case, without punctuation.

    Args:
        words: the vocabulary, in the order of ids; the first is `pad`.
        context: length that texts are cut or padded to.
        pad: token that fills up.
        begin: token before each text.
        end: token after each text.
        unknown: token of all other words.
        prompt: prefix of each text.
    """
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=unknown))
    steps = [normalizers.Lowercase(), normalizers.Replace(",", " ")]
    tokenizer.normalizer = normalizers.Sequence([*steps, *([normalizers.Prepend(prompt)] if prompt else [])])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(token, words.index(token)) for token in (begin, end)]
    )
    tokenizer.enable_padding(length=context, pad_id=0, pad_token=pad)
    tokenizer.enable_truncation(context)
    return tokenizer


def save_for_transformers(tokenizer: Tokenizer, out: Path, context: int, special: Mapping[str, str]) -> None:
    """Write tokenizer.json, without padding and truncation, and tokenizer_config.json into a model's folder.

    Args:
        tokenizer: from `build_word_tokenizer`.
        out: the folder.
        context: tokens of the longest text.
        special: special tokens by their names in transformers, such as `pad_token`.
    """
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(out / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, **special}
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
