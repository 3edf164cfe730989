"""Tokenizers of whole words, as the miniatures have, with the interface of transformers' but without importing it.

transformers takes 1.5 s of CPU to import, and none of it is needed to look words up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from pipeline.io.model_files import read_json

_SPECIAL = ("pad_token", "bos_token", "eos_token", "unk_token", "cls_token", "sep_token")
_KEYS = {"tokenizer_class", "model_max_length", *_SPECIAL}


def opens_as_whole_words(folder: Path) -> bool:
    """Whether the tokenizer in `folder` is of whole words, and has no options beyond those that are known here.

    Raises:
        QpertError: a configuration leads to code.
        OSError, ValueError: a file is missing or damaged.
    """
    path = folder / "tokenizer_config.json"
    if not path.is_file() or any((folder / name).exists() for name in ("special_tokens_map.json", "added_tokens.json")):
        return False
    config, content = read_json(path), read_json(folder / "tokenizer.json")
    model, length = content.get("model"), config.get("model_max_length")
    return (
        not config.keys() - _KEYS
        and config.get("tokenizer_class") == "PreTrainedTokenizerFast"
        and all(isinstance(config.get(name, ""), str) for name in _SPECIAL)
        and type(length) is int
        and isinstance(model, dict)
        and model.get("type") == "WordLevel"
        and not content.get("added_tokens")
        and all(config[name] in model.get("vocab", ()) for name in _SPECIAL if name in config)
    )


class WholeWords:
    """The tokenizer in a folder that `opens_as_whole_words`; equal to transformers' `PreTrainedTokenizerFast`.

    Attributes:
        model_max_length: tokens of the longest text, including special ones.
        pad_token_id: likewise `bos_`, `eos_`, `unk_`, `cls_` and `sep_token_id`; None where there is no such token.
    """

    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    unk_token_id: int | None = None
    cls_token_id: int | None = None
    sep_token_id: int | None = None

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / "tokenizer_config.json")
        self.backend_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.backend_tokenizer.no_truncation()
        self.backend_tokenizer.no_padding()
        given = {name: config[name] for name in _SPECIAL if name in config}
        self.backend_tokenizer.add_special_tokens(list(given.values()))
        for name, token in given.items():
            setattr(self, f"{name}_id", self.backend_tokenizer.token_to_id(token))
        self.model_max_length: int = config["model_max_length"]

    def __len__(self) -> int:
        """Number of ids."""
        return int(self.backend_tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str], *, special: bool, length: int | None = None) -> list[list[int]]:
        """Ids of each text.

        Args:
            texts: the texts.
            special: frame each text by the special tokens.
            length: longer texts lose words, never special tokens; None: nothing is cut.
        """
        if length is not None:
            self.backend_tokenizer.enable_truncation(length)
        try:
            encodings = self.backend_tokenizer.encode_batch(list(texts), add_special_tokens=special)
        finally:
            self.backend_tokenizer.no_truncation()
        return [encoding.ids for encoding in encodings]

    def __call__(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        """`input_ids` of each text, as a tokenizer of transformers gives them."""
        return {"input_ids": self.encode(texts, special=add_special_tokens)}
