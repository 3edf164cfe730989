"""LLaMA's tokenizer: SentencePiece itself, with the interface of a transformers tokenizer.

transformers converts such a vocabulary into a tokenizer of its own, which splits some texts differently ("photo of
1998", for example) from those that InternVL was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sentencepiece import SentencePieceProcessor


class SentencePieces:
    """A tokenizer from a `tokenizer.model`. Special tokens that appear in a text are read as text.

    Args:
        path: the file.

    Raises:
        OSError, RuntimeError: the file is missing or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.pieces = SentencePieceProcessor(model_file=str(path))
        self.bos_token_id: int = self.pieces.bos_id()
        self.eos_token_id: int = self.pieces.eos_id()

    def __len__(self) -> int:
        """Number of ids."""
        return int(self.pieces.get_piece_size())

    def __call__(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> dict[str, list[list[int]]]:
        """`input_ids` of each text.

        Raises:
            ValueError: `add_special_tokens` is set.
        """
        if add_special_tokens:
            raise ValueError("SentencePieces adds no special tokens")
        return {"input_ids": self.pieces.encode(list(texts))}
