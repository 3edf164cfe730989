"""What a user should hear of a tokenizer: which texts it cuts, and of which it knows no word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

FILLERS = frozenset(
    {"a", "an", "and", "at", "in", "is", "of", "on", "picture", "summarize", "the", "there", "to", "with"}
)
"""Words that name nothing: to know them alone is not to know a text."""


@dataclass(frozen=True)
class Reading:
    """How an encoder reads some texts.

    Attributes:
        limit: tokens of the longest text that is read whole, with those that begin and end it.
        cut: of each text, whether it is longer.
        strange: of each text, whether the vocabulary is of whole words and knows none of the text's. Empty: no text is.
        words: what such a vocabulary knows, without words such as "a" and "of"; else empty.
    """

    limit: int
    cut: Sequence[bool]
    strange: Sequence[bool] = ()
    words: Sequence[str] = ()


def vocabulary_of(tokenizer: Any) -> Mapping[str, int] | None:
    """Word -> id of a tokenizer of whole words, of `tokenizers` or transformers; None: it splits words, or is another.

    Its word for all unknown ones is among them.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    whole = isinstance(backend, Tokenizer) and isinstance(backend.model, WordLevel)
    return backend.get_vocab(with_added_tokens=False) if whole else None


def read_words(limit: int, cut: Sequence[bool], ids: Sequence[Sequence[int]], vocabulary: Mapping[str, int]) -> Reading:
    """A reading by a vocabulary of whole words.

    Args:
        limit: see `Reading`.
        cut: see `Reading`.
        ids: of each text's words, without special tokens.
        vocabulary: from `vocabulary_of`.
    """
    unknown = next((number for word, number in vocabulary.items() if word.strip("[]<>").lower() == "unk"), None)
    telling = {number for word, number in vocabulary.items() if word.isalpha() and word not in FILLERS}
    strange = [unknown in of_text and telling.isdisjoint(of_text) for of_text in ids]
    words = sorted(word for word, number in vocabulary.items() if number in telling)
    return Reading(limit, cut, strange, words)
