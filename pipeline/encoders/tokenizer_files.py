"""Tokenizers of transformers from a folder: their files are checked, and only known classes are built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.io.tokenizer_files import check_tokenizer


def load_tokenizer(folder: Path, **options: Any) -> Any:
    """The tokenizer in `folder`: BERT's class if it is named or there is only vocab.txt, else by tokenizer.json.

    Args:
        folder: with tokenizer.json or vocab.txt.
        options: for the tokenizer's class, such as `bos_token`.

    Raises:
        QpertError: see `check_tokenizer`.
        OSError, ValueError, KeyError, TypeError: its files are missing or damaged.
    """
    # Not at the top: LAVIS' actors import this module before the environment with their transformers is built.
    from transformers import BertTokenizer, PreTrainedTokenizerFast

    bert = check_tokenizer(folder) == "BertTokenizer" or not (folder / "tokenizer.json").is_file()
    return (BertTokenizer if bert else PreTrainedTokenizerFast).from_pretrained(str(folder), **options)
