"""The encoder of queries: loaded when it is needed, as much of it as is needed, and once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipeline.encoders
from pipeline.encoders import resolve_weights
from pipeline.encoders.text_towers import TextTower
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import weights_identity
from pipeline.queries.encoding import ChosenEncoder, SetEncoder
from pipeline.retrieval.text import TextEncoderChoice, load_chosen

CHOICE = TextEncoderChoice("tiny", None, None, "cpu", "float32")


class Sized:
    """An encoder whose vectors are its resolution; it counts how often it is resized."""

    name, vectors, dim = "tiny", 1, 2

    def __init__(self, size: int = 8) -> None:
        self.size = size

    def embed_text(self, texts: Any) -> Any:
        return np.ones((len(texts), 2), np.float32)

    def read_texts(self, texts: Any) -> None:
        return None

    def resize(self, image_size: int) -> None:
        self.size = image_size

    def preprocess(self, image: Any) -> Any:
        import torch

        return torch.tensor([float(self.size), 1.0])

    def backbone(self, pixels: Any) -> Any:
        return pixels

    def embed(self, tokens: Any) -> Any:
        return tokens[:, None] / tokens.norm(dim=-1)[:, None, None]


def side(vectors: Any) -> int:
    return round(float(vectors[0, 0, 0] / vectors[0, 0, 1]))


def test_an_encoder_that_serves_texts_serves_photos_too_and_each_resolution_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[Sized] = []

    def load(*_: Any, **__: Any) -> Any:
        loaded.append(Sized())
        return loaded[-1]

    monkeypatch.setattr(pipeline.encoders, "load_encoder", load)
    encoder = ChosenEncoder(CHOICE, load)
    photo = Image.new("RGB", (4, 4))
    assert side(encoder.embed_photos([photo], None)) == 8
    assert side(encoder.embed_photos([photo] * 20, None)) == 8
    assert len(loaded) == 1
    assert side(encoder.embed_photos([photo], 32)) == 32
    assert side(encoder.embed_photos([photo], None)) == 8
    assert len(loaded) == 3
    assert encoder.embed_photos([], None).shape == (0, 1, 2)


@pytest.fixture
def coca(write_features: Any) -> FeatureSet:
    identity = {"name": "coca", "weights": weights_identity(resolve_weights("coca", None))}
    features: FeatureSet = write_features(np.ones((1, 1, 128)), encoder=identity)
    return features


def test_texts_need_the_text_tower_alone(coca: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    loaded = []

    def load(choice: TextEncoderChoice) -> Any:
        loaded.append(load_chosen(choice))
        return ChosenEncoder(choice, lambda _: loaded[-1])

    monkeypatch.setattr(pipeline.encoders, "load_encoder", None)
    encoder = SetEncoder(coca, load=load)
    assert loaded == []
    assert encoder.texts(["a star", "a dog", "a star"]).shape == (3, 128)
    encoder.texts(["a dog"])
    assert [type(one) for one in loaded] == [TextTower]


def test_several_threads_share_one_encoder(coca: FeatureSet) -> None:
    loaded = []

    def load(choice: TextEncoderChoice) -> Any:
        loaded.append(choice)
        return ChosenEncoder(choice)

    encoder = SetEncoder(coca, load=load)
    texts = [f"a {colour} star" for colour in ("red", "green", "blue", "yellow")] * 8
    with ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(lambda text: encoder.texts([text])[0], texts))
    np.testing.assert_array_equal(vectors[:4] * 8, vectors)
    assert len(loaded) == 1


def test_an_encoder_that_takes_no_photos_says_so(coca: FeatureSet) -> None:
    encoder = SetEncoder(coca, load=load_chosen)
    with pytest.raises(QpertError, match="texts alone, no photos"):
        encoder.photos([Image.new("RGB", (4, 4))])


def test_photos_are_not_embedded_by_other_weights(write_features: Any) -> None:
    features = write_features(np.ones((1, 1, 128)), encoder={"name": "coca", "weights": {"digest": "0" * 16}})
    with pytest.raises(QpertError, match="has other weights than those that made"):
        SetEncoder(features).photos([Image.new("RGB", (4, 4))])
