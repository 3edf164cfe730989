"""Texts token for token as transformers' tokenizers and processors prepare them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import AutoProcessor, AutoTokenizer, SiglipTokenizer

from pipeline.encoders.siglip2.text_inputs import read_texts, read_tokenizer, text_ids
from pipeline.errors import QpertError
from tests.encoders.siglip2 import tiny_siglip
from tests.encoders.siglip2.tiny_siglip import LENGTH

TEXTS = ["a red dog", "A Red DOG, ÜBER İstanbul", "", "  two  spaces ", "dog " * 40, "<eos> dog", "犬"]


def folder_of(path: Path, native: bool, named: str) -> Path:
    tiny_siglip.config(native).save_pretrained(path)
    tiny_siglip.image_processor(native).save_pretrained(path)
    tiny_siglip.write_tokenizer(path, named)
    return path


@pytest.mark.parametrize("named", ["GemmaTokenizer", "Siglip2Tokenizer", "TokenizersBackend"])
def test_naflex_equals_transformers(tmp_path: Path, named: str) -> None:
    folder = folder_of(tmp_path, True, named)
    got = text_ids(read_tokenizer(folder, native=True), TEXTS, LENGTH).tolist()
    assert all(len(ids) == LENGTH for ids in got)
    assert got[0] == got[1][:3] + [1] + [0] * (LENGTH - 4)  # lower case, an end, padding on the right
    options = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
    assert got == AutoTokenizer.from_pretrained(folder)(TEXTS, **options)["input_ids"]
    processed = AutoProcessor.from_pretrained(folder)(text=TEXTS, max_length=LENGTH)
    assert got == processed["input_ids"]
    assert "attention_mask" not in processed


def test_siglip2_of_fixed_resolution_equals_transformers_in_lower_case(tmp_path: Path) -> None:
    """transformers itself keeps the capitals, which these models have not been trained on."""
    folder = folder_of(tmp_path, False, "GemmaTokenizer")
    theirs = AutoTokenizer.from_pretrained(folder)
    options = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
    lower = [text.lower() for text in TEXTS]
    tokenizer = read_tokenizer(folder, native=False)
    assert text_ids(tokenizer, TEXTS, LENGTH).tolist() == theirs(lower, **options)["input_ids"]
    assert text_ids(tokenizer, TEXTS[1:2], LENGTH).tolist() != theirs(TEXTS[1:2], **options)["input_ids"]


@pytest.fixture
def first_siglip(tmp_path: Path) -> Path:
    """A folder with SentencePiece's vocabulary, as the first SigLIP's."""
    corpus = tmp_path / "corpus.txt"
    colours = ("red", "green", "blue", "yellow")
    lines = [f"a {colour} dog and two cats on the beach {number}" for number in range(9) for colour in colours]
    corpus.write_text("\n".join(lines))
    folder = tmp_path / "model"
    tiny_siglip.config(native=False).save_pretrained(folder)
    tiny_siglip.image_processor(native=False).save_pretrained(folder)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "spiece"), vocab_size=60, minloglevel=2, pad_id=-1, bos_id=-1,
        eos_id=1, unk_id=2, hard_vocab_limit=False, control_symbols=["<ctl>"],
    )  # fmt: skip
    SiglipTokenizer(str(folder / "spiece.model"), model_max_length=LENGTH).save_pretrained(folder)
    return folder


def test_the_first_siglip_equals_transformers(first_siglip: Path) -> None:
    tokenizer = read_tokenizer(first_siglip, native=False)
    assert type(tokenizer) is SiglipTokenizer
    options = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
    want = AutoTokenizer.from_pretrained(first_siglip)(TEXTS, **options)["input_ids"]
    assert text_ids(tokenizer, TEXTS, LENGTH).tolist() == want
    dirty, clean = text_ids(tokenizer, ["A red... DOG!", "a red dog"], LENGTH).tolist()
    assert dirty == clean


def test_texts_that_are_cut(tmp_path: Path) -> None:
    tokenizer = read_tokenizer(folder_of(tmp_path, True, "GemmaTokenizer"), native=True)
    reading = read_texts(tokenizer, ["a dog", "dog " * 40], LENGTH)
    assert (reading.limit, [*reading.cut], [*reading.strange]) == (LENGTH, [False, True], [])
    assert text_ids(tokenizer, [], LENGTH).shape == (0, LENGTH)


def test_missing_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QpertError, match=r"no tokenizer: .*tokenizer.json or spiece.model"):
        read_tokenizer(tmp_path, native=False)
    (tmp_path / "spiece.model").touch()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GemmaTokenizer"}))
    with pytest.raises(QpertError, match=r"there \(tokenizer.json\)"):
        read_tokenizer(tmp_path, native=False)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "EvilTokenizer"}))
    with pytest.raises(QpertError, match="EvilTokenizer"):
        read_tokenizer(tmp_path, native=False)
