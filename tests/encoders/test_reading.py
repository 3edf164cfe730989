"""Texts that are cut or strange, according to the tokenizer that reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch

from pipeline.encoders import load_encoder
from pipeline.encoders.internvl.text_inputs import MAX_LENGTH
from pipeline.encoders.open_clip.weights import read_texts
from pipeline.errors import QpertError

STRANGE = ["zebra xylophone", "a zebra", "the unseen of there"]
KNOWN = ["red", "a small red star", "a zebra on a red star", "a picture of"]


@pytest.mark.parametrize("name", ["coca", "blip2", "internvl", "open_clip"])
def test_the_miniatures_know_shapes_and_colours(name: str) -> None:
    reading = load_encoder(name).read_texts([*STRANGE, *KNOWN])
    assert reading is not None
    assert list(reading.strange) == [True] * len(STRANGE) + [False] * len(KNOWN)
    assert {"red", "star", "tiny"} <= set(reading.words)
    assert not {"a", "of", "UNK", "summarize"} & set(reading.words)


@pytest.mark.parametrize("name", ["coca", "blip2", "internvl", "open_clip"])
def test_texts_count_as_cut_exactly_when_their_end_is_ignored(name: str) -> None:
    """While a text is whole, another last word gives another vector."""
    encoder = load_encoder(name)
    for words in range(30, 90):
        texts = ["red " * words + last for last in ("star", "moon")]
        reading = encoder.read_texts(texts)
        assert reading is not None
        vectors = encoder.embed_text(texts)
        assert list(reading.cut) == [torch.equal(vectors[0], vectors[1])] * 2, words


def test_reading_texts_does_not_change_their_embeddings() -> None:
    for name in ("coca", "blip2", "internvl", "open_clip"):
        encoder = load_encoder(name)
        texts = ["a small red star", "red " * 100]
        before = encoder.embed_text(texts)
        encoder.read_texts(texts)
        assert torch.equal(encoder.embed_text(texts), before)


def test_clips_own_tokenizer() -> None:
    tokenizer = open_clip.SimpleTokenizer(context_length=12)
    for words in range(7, 14):
        texts = ["dog " * words + last for last in ("cat", "bird")]
        reading = read_texts(tokenizer, texts)
        assert reading is not None
        ids = tokenizer(texts)
        assert list(reading.cut) == [torch.equal(ids[0], ids[1])] * 2
    assert reading.limit == 12
    assert not reading.words
    assert read_texts(lambda texts: torch.zeros(len(texts), 3), ["a"]) is None


def test_lavis_drops_words_beyond_fifty() -> None:
    encoder: Any = load_encoder("blip2")
    encoder.tokenizer.model_max_length = 400
    reading = encoder.read_texts(["red " * 50, "red " * 51, "red . ! " * 40])
    assert reading.limit == 400
    assert list(reading.cut) == [False, True, False]
    with pytest.raises(QpertError, match="more than 50 words"):
        encoder._prompt("red " * 51)


def test_internvl_counts_its_prompt() -> None:
    def letters(texts: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[3] * len(text) for text in texts]}

    from pipeline.encoders.internvl.text_inputs import read_texts as read

    tokenizer: Callable[..., Any] = letters
    room = MAX_LENGTH - 2 - len("summarize:")
    assert list(read(tokenizer, ["x" * room, "x" * (room + 1)]).cut) == [False, True]
