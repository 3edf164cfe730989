"""Texts that a tokenizer cuts, and texts of which it knows no word: what users are warned of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel

FILLERS = frozenset(
    {"a", "an", "and", "at", "in", "is", "of", "on", "picture", "summarize", "the", "there", "to", "with"}
)
"""Words that name nothing: a text of which only these are known counts as unknown."""


@dataclass(frozen=True)
class Reading:
    """How an encoder reads some texts.

    Attributes:
        limit: tokens of the longest text that is read whole, including those that begin and end it.
        cut: for each text, whether it is longer.
        strange: for each text, whether a vocabulary of whole words knows none of its words. Empty: no text is strange.
        words: the words of such a vocabulary, without "a", "of" and the like; else empty.
    """

    limit: int
    cut: Sequence[bool]
    strange: Sequence[bool] = ()
    words: Sequence[str] = ()


def vocabulary_of(tokenizer: Any) -> Mapping[str, int] | None:
    """Word -> id of a tokenizer of whole words, by `tokenizers` or transformers; None for any other tokenizer.

    The word that replaces unknown ones is included.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    whole = isinstance(backend, Tokenizer) and isinstance(backend.model, WordLevel)
    return backend.get_vocab(with_added_tokens=False) if whole else None


def make_reading(
    limit: int, cut: Sequence[bool], tokenizer: Any, word_ids: Callable[[], Sequence[Sequence[int]]]
) -> Reading:
    """A reading by any tokenizer; only a vocabulary of whole words can tell which texts are strange.

    Args:
        limit: see `Reading`.
        cut: see `Reading`.
        tokenizer: of `tokenizers` or transformers.
        word_ids: gives the ids of each text's words, without special tokens.
    """
    vocabulary = vocabulary_of(tokenizer)
    if vocabulary is None:
        return Reading(limit, cut)
    unknown = next((number for word, number in vocabulary.items() if word.strip("[]<>").lower() == "unk"), None)
    telling = {number for word, number in vocabulary.items() if word.isalpha() and word not in FILLERS}
    strange = [unknown in ids and telling.isdisjoint(ids) for ids in word_ids()]
    words = sorted(word for word, number in vocabulary.items() if number in telling)
    return Reading(limit, cut, strange, words)
