"""A small set that is served without any model, and clients for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.retrieval.text import TextEncoderChoice

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from pipeline.encoders.reading import Reading
from pipeline.serving.app import build_app
from pipeline.serving.embedding import EncoderPool
from pipeline.serving.service import Service
from pipeline.serving.settings import ServeSettings

DIM = 4
COCA_DIM = 128
"""D of the bundled coca, whose text tower needs no torch."""


class AxisEncoder:
    """The text "2" is the unit vector of axis 2; other texts lie between all axes. A photo is the axis of its red."""

    name, dim = "axis", DIM

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.calls.append(list(texts))
        between = np.full(DIM, DIM**-0.5)
        rows = [np.eye(DIM)[int(text)] if text in ("0", "1", "2", "3") else between for text in texts]
        return np.array(rows, np.float32)

    def embed_photos(self, photos: Sequence[Image.Image], image_size: int | None) -> npt.NDArray[np.float32]:
        axes = [round(float(np.asarray(photo)[..., 0].mean()) / 80) for photo in photos]
        return np.eye(DIM, dtype=np.float32)[axes][:, None]

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        return None


@pytest.fixture
def encoder() -> AxisEncoder:
    return AxisEncoder()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos 0.png to 3.png, whose red is 80 times their number."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(DIM):
        Image.new("RGB", (64, 48), (80 * number, 0, 0)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def axes(write_features: Callable[..., Any], photos: Path) -> str:
    """A set of the photos 0.png to 3.png, each on its axis; number 2 has an object."""
    things = [[], [], [{"x0": 0.1, "y0": 0.1, "x1": 0.3, "y1": 0.4, "label": "dog", "score": 0.9}], []]
    vectors = np.eye(DIM)[:, None] + 0.01 * np.arange(DIM)[None, None]
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    ids = [f"{number}.png" for number in range(DIM)]
    return str(write_features(vectors, ids, objects=things, folder=photos, name="axes").root)


@pytest.fixture
def make_service(encoder: AxisEncoder) -> Iterator[Callable[..., Service]]:
    """A function that opens a service over sets."""
    services = []

    def make(*features: str, **settings: Any) -> Service:
        def load(choice: TextEncoderChoice) -> AxisEncoder:
            return encoder

        service = Service(ServeSettings(features=features, **settings), EncoderPool(load))
        services.append(service)
        service.open()
        return service

    yield make
    for service in services:
        service.close()


@pytest.fixture
def make_client(make_service: Callable[..., Service]) -> Callable[..., TestClient]:
    """A function that gives a client of a server over sets."""

    def make(*features: str, hosts: Sequence[str] | None = None, **settings: Any) -> TestClient:
        service = make_service(*features, **settings)
        return TestClient(build_app(service, hosts=hosts), raise_server_exceptions=False)

    return make


@pytest.fixture
def client(make_client: Callable[..., TestClient], axes: str) -> TestClient:
    return make_client(axes)


@pytest.fixture
def coca(write_features: Callable[..., Any], tmp_path: Path) -> str:
    """A set of 60 photos with random vectors."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"{number}.png" for number in range(60)]
    for name in names:
        Image.new("RGB", (32, 24), (200, 0, 0)).save(folder / name)
    vectors = np.random.default_rng(0).standard_normal((60, 1, COCA_DIM))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return str(write_features(vectors, names, folder=folder, name="coca").root)
