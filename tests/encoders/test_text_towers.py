"""The bundled text towers: equal to torch's, for the weights they were made from, and never for others."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from pipeline.encoders import list_encoders, load_encoder, miniature_encoders, resolve_weights, text_towers
from pipeline.encoders.registry import ENCODERS
from pipeline.encoders.text_towers import TextTower, load_text_tower
from pipeline.features.fingerprint import weights_identity

TEXTS = [
    "a tiny red star",
    "A HUGE, black moon, above a blue circle",
    "",
    " ",
    "zebra",
    "a zebra and a dog",
    "the red star " * 40,
    "the red star. " * 60,
    "Ünïcode 星 🌟 é",
    "[PAD] [CLS] <s> </s> [unk] <pad> [DEC]",
    "a\tsmall\nred  star!!! (left); of: the *moon*",
    "red\u200bstar a\x00star",
    "[CLS]",
    *("red " * count for count in range(30, 52)),
    *("red" * count for count in (1, 200)),
]
PERTURBABLE = [name for name in list_encoders() if ENCODERS[name].miniature]


def texts() -> list[str]:
    words = ["a", "tiny", "red", "blue", "star", "moon", "above", "zebra", ",", ".", "left", "of"]
    drawn = np.random.default_rng(0)
    return TEXTS + [" ".join(drawn.choice(words, drawn.integers(1, 60))) for _ in range(100)]


def tower_of(name: str) -> TextTower:
    tower = load_text_tower(name, weights_identity(resolve_weights(name, None))["digest"])
    assert tower is not None, "exported from other weights: python -m pipeline.miniature.text_tower_export"
    return tower


@pytest.mark.parametrize("name", PERTURBABLE)
def test_text_towers_equal_those_of_torch(name: str) -> None:
    pytest.importorskip("onnxruntime")
    tower, encoder = tower_of(name), load_encoder(name)
    assert (tower.name, tower.dim) == (name, encoder.dim)
    given = texts()
    vectors = tower.embed_text(given)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, encoder.embed_text(given).numpy(), atol=1e-5, rtol=0)
    for row, text in enumerate(TEXTS):  # by themselves, as torch pads them to another length
        np.testing.assert_allclose(
            tower.embed_text([text])[0], encoder.embed_text([text])[0].numpy(), atol=1e-5, rtol=0
        )
        np.testing.assert_allclose(tower.embed_text([text])[0], vectors[row], atol=1e-5, rtol=0)
    assert tower.embed_text([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("name", PERTURBABLE)
def test_text_towers_read_texts_alike(name: str) -> None:
    pytest.importorskip("onnxruntime")
    got, want = tower_of(name).read_texts(texts()), load_encoder(name).read_texts(texts())
    assert got is not None
    assert want is not None
    assert got.limit == want.limit
    assert list(got.cut) == list(want.cut)
    assert list(got.strange) == list(want.strange)
    assert list(got.words) == list(want.words)
    assert True in got.cut
    assert True in got.strange


def test_text_towers_serve_no_other_weights(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("onnxruntime")
    with caplog.at_level(logging.DEBUG):
        assert load_text_tower("coca", "0" * 16) is None
        assert load_text_tower("coca", None) is None
    assert "exported from other weights" in caplog.text
    assert load_text_tower("blip2-lavis", "0" * 16) is None


def test_without_onnxruntime_there_is_no_text_tower(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it fails, as if it were not installed
    with caplog.at_level(logging.DEBUG):
        assert load_text_tower("coca", weights_identity(resolve_weights("coca", None))["digest"]) is None
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "onnxruntime is not installed" in caplog.text


def test_every_bundled_encoder_has_a_text_tower() -> None:
    assert {path.stem for path in text_towers.FOLDER.glob("*.onnx")} == set(miniature_encoders())
