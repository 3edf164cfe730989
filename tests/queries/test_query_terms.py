"""Photos as queries, with the bundled miniatures: found by themselves, cropped, by id; hostile ones are refused."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.scenes import write_scenes
from pipeline.encoders import load_encoder, resolve_weights
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.fingerprint import weights_identity
from pipeline.io.images import decode
from pipeline.method.cuts import cut_around
from pipeline.queries import query_terms
from pipeline.queries.encoding import ChosenEncoder, SetEncoder
from pipeline.queries.query import Query, Term
from pipeline.queries.searching import Collection
from pipeline.retrieval.similarity import unit

BOX = (0.1, 0.25, 0.6, 0.7)
SCENES = 12


loaded = cache(load_encoder)


class Drawn:
    """Scenes indexed plainly, and what indexed them."""

    def __init__(self, name: str, folder: Path, write_features: Any) -> None:
        write_scenes(folder, SCENES, 5)
        self.files = sorted((folder / "images").iterdir())
        self.encoder = loaded(name)
        vectors = np.concatenate([self.embed(file.read_bytes()) for file in self.files])
        identity = {"name": name, "weights": weights_identity(resolve_weights(name, None))}
        ids = [file.name for file in self.files]
        self.features: FeatureSet = write_features(vectors, ids, folder=folder / "images", encoder=identity)
        self.collection = Collection.open([self.features], cache=False)
        self.queries = SetEncoder(self.features, load=lambda choice: ChosenEncoder(choice, lambda _: self.encoder))

    def embed(self, photo: bytes, box: Any = None) -> Any:
        """Plain vectors [1, V, D] of a photo or what lies in a box of it, by the encoder itself."""
        import torch

        image = decode(photo)
        image = image if box is None else image.crop(cut_around(box, 0, image.size))
        with torch.inference_mode():
            return self.encoder.embed(self.encoder.backbone(self.encoder.preprocess(image)[None])).numpy()

    def vectors(self, *terms: Term) -> Any:
        return self.collection.embed([Query(terms)], self.queries)[0].vectors


@pytest.fixture(params=["coca", "blip2"])
def drawn(request: pytest.FixtureRequest, tmp_path: Path, write_features: Any) -> Drawn:
    return Drawn(request.param, tmp_path / "scenes", write_features)


@pytest.mark.slow
def test_an_indexed_photo_finds_itself_first(drawn: Drawn) -> None:
    queries = [Query((Term(image=str(file)),), k=3) for file in drawn.files]
    queries += [Query((Term(image=file.read_bytes()),), k=3) for file in drawn.files]
    answers = drawn.collection.answer(queries, SetEncoder(drawn.features))
    assert [hits[0].image_id for hits in answers] == [file.name for file in drawn.files] * 2
    assert all(hits[0].score == pytest.approx(1, abs=2e-3) for hits in answers)
    assert [list(hits) for hits in answers[:SCENES]] == [list(hits) for hits in answers[SCENES:]]


@pytest.mark.slow
def test_a_box_is_the_crop_encoded_by_itself(drawn: Drawn) -> None:
    file = drawn.files[2]
    crop = unit(drawn.embed(file.read_bytes(), BOX)[0], "test")
    for term in (Term(image=str(file), box=BOX), Term(like=file.name, box=BOX)):
        np.testing.assert_allclose(drawn.vectors(term), crop, atol=1e-5)
    assert np.abs(drawn.vectors(Term(image=str(file))) - crop).max() > 1e-2


@pytest.mark.slow
def test_texts_and_photos_are_added_up(drawn: Drawn) -> None:
    text = drawn.queries.texts(["a small red star"])
    photo = unit(drawn.embed(drawn.files[0].read_bytes())[0], "test")
    terms = Term(text="a small red star"), Term(image=str(drawn.files[0]), weight=0.5)
    (query,) = drawn.collection.embed([Query(terms)], drawn.queries)
    if drawn.features.vectors == 1:
        np.testing.assert_allclose(query.vectors, unit(text + 0.5 * photo, ""), atol=1e-5)
        np.testing.assert_array_equal(query.weights, [1])
    else:
        np.testing.assert_allclose(query.vectors, np.concatenate([text, photo]), atol=1e-5)
        shares = np.array([1, *[0.5 / len(photo)] * len(photo)]) / 1.5
        np.testing.assert_allclose(query.weights, shares, atol=1e-6)


class Counting:
    """An encoder that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def texts(self, texts: Sequence[str]) -> Any:
        self.asked.append(len(texts))
        return unit(np.random.default_rng(0).standard_normal((len(texts), 4)), "")

    def photos(self, photos: Sequence[Any]) -> Any:
        self.asked.append(len(photos))
        return unit(np.random.default_rng(0).standard_normal((len(photos), 1, 4)), "")


def png(*size: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size or (8, 6), "teal").save(file, "PNG")
    return file.getvalue()


def test_equal_terms_of_all_queries_are_embedded_once_and_indexed_photos_never(write_features: Any) -> None:
    collection = Collection.open([write_features(np.eye(4)[:, None])], cache=False)
    encoder, photo = Counting(), Term(image=png())
    star, like = Term(text="a star"), Term(like="000001.jpg")
    collection.embed([Query((star, photo)), Query((star, photo, like)), Query((Term(text="a dog"),))], encoder)
    assert encoder.asked == [1, 2]
    collection.embed([Query((like,))], encoder)
    assert encoder.asked == [1, 2]


def test_large_photos_are_not_all_decoded_at_once(write_features: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_terms, "_PIXELS_AT_ONCE", 100)
    collection = Collection.open([write_features(np.eye(4)[:, None])], cache=False)
    encoder = Counting()
    photos = [png(width, 6) for width in (8, 9, 20, 7)]
    (query,) = collection.embed([Query(tuple(Term(image=photo) for photo in photos))], encoder)
    assert encoder.asked == [2, 1, 1]
    assert query.vectors.shape == (1, 4)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (b"", "cannot search for the photo: empty file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot search for the photo: "),
        (png()[:40], "cannot search for the photo: truncated image"),
        ("/nowhere/x.jpg", "cannot search for the photo /nowhere/x.jpg: file not found"),
        ("/etc", "it is a folder"),
        ("http://169.254.169.254/x.jpg", "scheme not allowed: http .--allow-scheme http."),
        ("zip::file:///x", "chained URLs are not opened"),
    ],
)
def test_photos_that_cannot_be_opened_are_named(write_features: Any, photo: Any, message: str) -> None:
    collection = Collection.open([write_features(np.eye(4)[:, None])], cache=False)
    with pytest.raises(QpertError, match=message):
        collection.embed([Query((Term(image=photo),))], Counting())


def test_photos_are_refused_by_the_rules_and_by_their_size_before_they_are_decoded(
    write_features: Any, tmp_path: Path
) -> None:
    collection = Collection.open([write_features(np.eye(4)[:, None])], cache=False)
    (tmp_path / "x.png").write_bytes(png())
    for photo in (png(), str(tmp_path / "x.png")):
        with pytest.raises(QpertError, match="file too large"):
            collection.embed([Query((Term(image=photo),))], Counting(), rules=SourceRules(max_bytes=20))
    rules = SourceRules(root=str(tmp_path / "photos"))
    with pytest.raises(QpertError, match="outside of --root"):
        collection.embed([Query((Term(image=str(tmp_path / "x.png")),))], Counting(), rules=rules)
    bomb = bytearray(png())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # in the header alone
    with pytest.raises(QpertError, match="image too large"):
        collection.embed([Query((Term(image=bytes(bomb)),))], Counting())


def test_a_box_in_an_indexed_photo_that_is_gone_is_an_error(write_features: Any) -> None:
    collection = Collection.open([write_features(np.eye(4)[:, None])], cache=False)
    with pytest.raises(QpertError, match=r"photos like 000001.jpg .10,25-60,70.: file not found"):
        collection.embed([Query((Term(like="000001.jpg", box=BOX),))], Counting())
