"""The encoder of a feature set and its texts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.encoders.base import Encoder
from pipeline.encoders.reading import Reading
from pipeline.errors import QpertError
from pipeline.features.fingerprint import weights_identity
from pipeline.retrieval.similarity import unit
from pipeline.retrieval.text import embed_texts, load_text_encoder


class CountingEncoder:
    """A fake text encoder that records its batches; a text's vector depends on the text alone."""

    dim = 3

    def __init__(self):
        self.batches = []

    def embed_text(self, texts):
        self.batches.append(list(texts))
        return torch.tensor([[len(text), text.count("a"), 1.0] for text in texts])


def test_embed_texts_embeds_each_distinct_text_once_in_batches():
    encoder = CountingEncoder()
    vectors = embed_texts(encoder, ["aa", "b", "aa", "ccc", "b"], batch=2)
    assert encoder.batches == [["aa", "b"], ["ccc"]]
    assert np.array_equal(vectors[0], vectors[2])
    assert np.array_equal(vectors[1], vectors[4])
    assert vectors == pytest.approx(unit([[2, 2, 1], [1, 0, 1], [2, 2, 1], [3, 0, 1], [1, 0, 1]], "test"))
    assert embed_texts(encoder, []).shape == (0, 3)


@pytest.fixture
def loaded(monkeypatch):
    """The calls of a fake `load_encoder`."""
    calls = []

    def load(name, **more):
        calls.append((name, more))
        return CountingEncoder()

    monkeypatch.setattr("pipeline.retrieval.text.load_encoder", load)
    return calls


def test_loads_the_encoder_that_the_manifest_names(write_features, loaded):
    features = write_features(np.ones((1, 1, 3)), encoder={"name": "coca", "weights": {"name": "a:b"}}, weights="a:b")
    load_text_encoder(features)
    load_text_encoder(features, weights="/moved", device="meta", dtype="bfloat16")
    assert loaded == [
        ("coca", {"weights": "a:b", "device": "cpu", "dtype": "float32"}),
        ("coca", {"weights": "/moved", "device": "meta", "dtype": "bfloat16"}),
    ]


def test_missing_weights_are_named_with_advice(write_features, tmp_path):
    gone = str(tmp_path / "gone")
    features = write_features(np.ones((1, 1, 3)), weights=gone)
    with pytest.raises(QpertError, match=rf"{gone}.*--weights"):
        load_text_encoder(features)


def test_unknown_and_missing_encoders_are_refused(write_features):
    with pytest.raises(QpertError, match="nonesuch"):
        load_text_encoder(write_features(np.ones((1, 1, 3)), encoder={"name": "nonesuch"}))
    with pytest.raises(QpertError, match="names no encoder"):
        load_text_encoder(write_features(np.ones((1, 1, 3)), encoder={}, name="none"))


def test_other_weights_are_refused(write_features, loaded, tmp_path):
    then, now = tmp_path / "then.safetensors", tmp_path / "now.safetensors"
    then.write_bytes(b"1")
    now.write_bytes(b"2")
    encoder = {"name": "coca", "weights": weights_identity(str(then))}
    features = write_features(np.ones((1, 1, 3)), encoder=encoder, weights=str(then))
    load_text_encoder(features, weights=str(then))
    then.rename(tmp_path / "moved")
    load_text_encoder(features, weights=str(tmp_path / "moved"))
    with pytest.raises(QpertError, match="other weights than those that made"):
        load_text_encoder(features, weights=str(now))


def test_files_named_by_a_manifest_are_not_opened(write_features, tmp_path, monkeypatch):
    """A stranger's folder is not even looked at; the message says how to allow it."""

    def load(*_, **__):
        raise AssertionError("opened")

    monkeypatch.setattr("pipeline.retrieval.text.load_encoder", load)
    monkeypatch.setattr("pipeline.retrieval.text.weights_identity", load)
    folder = tmp_path / "of a stranger"
    folder.mkdir()
    features = write_features(np.ones((1, 1, 3)), weights=str(folder))
    with pytest.raises(QpertError, match=rf"only if you name them.*--weights '{folder}'"):
        load_text_encoder(features)


class Reads(Encoder):
    """Reads four tokens, one for each letter, and knows "a" and "b"."""

    name, dim = "reads", 3

    def embed_text(self, texts):
        return torch.ones(len(texts), 3)

    def read_texts(self, texts):
        strange = [not {"a", "b"} & set(text) for text in texts]
        return Reading(4, [len(text) > 4 for text in texts], strange, ["a", "b"])

    load = preprocess = backbone = embed = sites = embed_text


def test_truncated_and_unknown_texts_are_reported_once_with_their_count(recwarn):
    encoder = Reads()
    embed_texts(encoder, ["a", "ab"])
    assert not recwarn.list
    embed_texts(encoder, ["aaaaa", "a" * 90, "a\x1b[31m", "b" * 6, "b", "aaaaa", "zebra"[:1], "x"], batch=2)
    cut, unknown = (str(warning.message) for warning in recwarn.list)
    assert cut.startswith("4 of 7 texts are longer than the 4 tokens that reads reads")
    assert cut.endswith(f"'aaaaa', '{'a' * 60}...', 'a\\x1b[31m' and 1 more")
    assert "none of the words of 'z', 'x' is known" in unknown
    assert unknown.endswith("it knows only: a, b")


def test_other_weights_are_noticed_by_their_dimension(write_features, loaded):
    with pytest.raises(QpertError, match="other weights than those that made"):
        load_text_encoder(write_features(np.ones((1, 1, 7))))
