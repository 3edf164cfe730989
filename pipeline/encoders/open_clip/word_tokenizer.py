"""Texts to token ids by a `tokenizer.json` file, with the interface of open_clip's tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from pipeline.encoders.reading import Reading, make_reading
from pipeline.io.model_files import read_json

if TYPE_CHECKING:
    from torch import Tensor

Tokenize = Callable[[Sequence[str]], "Tensor"]
"""From texts to ids int64 [T, context length], as open_clip's tokenizers."""


def has_whole_words(path: Path) -> bool:
    """Whether there is a `tokenizer.json` of whole words at `path`.

    Raises:
        QpertError, OSError, ValueError: see `read_json`.
    """
    model = read_json(path).get("model") if path.is_file() else None
    return isinstance(model, dict) and model.get("type") == "WordLevel"


class WordTokenizer:
    """A `tokenizers` file as a function from texts to ids.

    Args:
        path: the `tokenizer.json`.
        context_length: L, length of every sequence: longer ones are cut, shorter ones padded.
        pad_id: the id to pad with.
        words: of the model's vocabulary; None: not compared.

    Raises:
        ValueError: the file is damaged, or has ids that the model does not.
    """

    def __init__(self, path: Path | str, context_length: int, pad_id: int = 0, words: int | None = None) -> None:
        self.context_length = context_length
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"{Path(path).name} is damaged: {error}") from error
        largest = max(self._tokenizer.get_vocab().values(), default=0)
        if words is not None and max(largest, pad_id) >= words:
            raise ValueError(f"{Path(path).name} has ids up to {max(largest, pad_id):,}, but the model {words:,} words")
        self._tokenizer.enable_truncation(context_length)
        self._tokenizer.enable_padding(length=context_length, pad_id=pad_id)

    def read(self, texts: Sequence[str]) -> Reading:
        """Which texts are cut, and which have no known word."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        whole.no_padding()

        def encode(special: bool) -> list[list[int]]:
            return [encoding.ids for encoding in whole.encode_batch(list(texts), add_special_tokens=special)]

        cut = [len(ids) > self.context_length for ids in encode(special=True)]
        return make_reading(self.context_length, cut, whole, lambda: encode(special=False))

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """int64 [T, L]; one string is one text."""
        import torch  # here, because texts are also read without it

        ids = self.ids([texts] if isinstance(texts, str) else texts)
        return torch.tensor(ids, dtype=torch.int64).reshape(len(ids), self.context_length)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """L ids of each text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
