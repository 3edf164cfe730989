"""The server as an application of Ray Serve: replicas that search, and one or more that embed queries.

`build` is what the `import_path` of a Serve configuration names, see docs/examples/serve.yaml.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import numpy as np
from pydantic import Field
from ray import serve

from pipeline.encoders.reading import Reading
from pipeline.errors import QpertError
from pipeline.queries.encoding import ChosenEncoder
from pipeline.retrieval.similarity import Float32
from pipeline.retrieval.text import TextEncoderChoice
from pipeline.serving.access import read_token
from pipeline.serving.app import build_app
from pipeline.serving.embedding import EncoderPool
from pipeline.serving.service import Service
from pipeline.serving.settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from PIL.Image import Image

TEXTS_AT_ONCE = 64
_PATIENCE = 60.0
"""Seconds for an answer of the encoder; the first one loads it."""


class ClusterSettings(ServeSettings):
    """The arguments of the application in a Serve configuration.

    Attributes:
        token_file: path of the file with the token, on every machine with replicas.
        without_token: serve all who reach the port of the cluster's proxies.
        hosts: names in the Host header to answer to; None for all.
        replicas: of the search; None for what the configuration says of the deployment `Search`.
    """

    token_file: str | None = None
    without_token: bool = False
    hosts: tuple[str, ...] | None = None
    replicas: int | None = Field(None, ge=1)


@dataclass(frozen=True)
class Texts:
    """Texts for one encoder."""

    choice: TextEncoderChoice
    texts: tuple[str, ...]


@serve.deployment(max_ongoing_requests=2 * TEXTS_AT_ONCE, health_check_timeout_s=60)
class Embedder:
    """Embeds the queries of all replicas: texts that come together in one pass, photos one by one."""

    def __init__(self) -> None:
        self._encoders: dict[TextEncoderChoice, ChosenEncoder] = {}
        self._loading = asyncio.Lock()

    @serve.batch(max_batch_size=TEXTS_AT_ONCE, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def embed(self, requests: list[Texts]) -> list[Float32]:
        """Unit vectors [T, D] for each request."""
        vectors: dict[TextEncoderChoice, dict[str, Any]] = {}
        for choice in dict.fromkeys(request.choice for request in requests):
            texts = list(dict.fromkeys(text for one in requests if one.choice == choice for text in one.texts))
            encoder = await self._encoder(choice)
            rows = await anyio.to_thread.run_sync(encoder.embed_text, texts)
            array = rows if isinstance(rows, np.ndarray) else rows.detach().float().cpu().numpy()
            vectors[choice] = dict(zip(texts, array, strict=True))
        return [np.stack([vectors[request.choice][text] for text in request.texts]) for request in requests]

    async def read(self, choice: TextEncoderChoice, texts: Sequence[str]) -> Reading | None:
        """See `TextEncoder.read_texts`."""
        return (await self._encoder(choice)).read_texts(texts)

    async def photo(self, choice: TextEncoderChoice, pixels: np.ndarray[Any, Any], image_size: int | None) -> Float32:
        """Unit vectors [1, V, D] of a photo uint8 [H, W, 3]."""
        from PIL import Image

        encoder = await self._encoder(choice)
        return await anyio.to_thread.run_sync(encoder.embed_photos, [Image.fromarray(pixels)], image_size)

    async def describe(self, choice: TextEncoderChoice) -> tuple[str, int]:
        """Name and D of an encoder."""
        encoder = await self._encoder(choice)
        return encoder.name, encoder.dim

    async def _encoder(self, choice: TextEncoderChoice) -> ChosenEncoder:
        async with self._loading:
            if choice not in self._encoders:
                self._encoders[choice] = await anyio.to_thread.run_sync(ChosenEncoder, choice)
            return self._encoders[choice]


class RemoteEncoder:
    """The encoder of a choice in an `Embedder`; several threads may ask, none that runs an event loop."""

    def __init__(self, choice: TextEncoderChoice, embedder: Any) -> None:
        self._choice, self._embedder = choice, embedder
        self.name, self.dim = embedder.describe.remote(choice).result(timeout_s=_PATIENCE)

    def embed_text(self, texts: Sequence[str]) -> Float32:
        """See `TextEncoder`."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        vectors: Float32 = self._embedder.embed.remote(Texts(self._choice, tuple(texts))).result(timeout_s=_PATIENCE)
        return vectors

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """See `TextEncoder`."""
        reading: Reading | None = self._embedder.read.remote(self._choice, list(texts)).result(timeout_s=_PATIENCE)
        return reading

    def embed_photos(self, photos: Sequence[Image], image_size: int | None) -> Float32:
        """See `ChosenEncoder`."""
        asked = [self._embedder.photo.remote(self._choice, np.asarray(photo), image_size) for photo in photos]
        return np.concatenate([one.result(timeout_s=_PATIENCE) for one in asked])


@serve.deployment(max_ongoing_requests=256, graceful_shutdown_timeout_s=30, health_check_timeout_s=60)
@serve.ingress()
class Search:
    """A replica: the app over sets that it has opened itself."""

    async def __init__(self, settings: ClusterSettings, embedder: Any) -> None:  # type: ignore[misc]  # Ray awaits it
        # Ray configures the logging of replicas; this keeps the access log apart from its own.
        logging.getLogger("pipeline").setLevel(logging.INFO)
        pool = EncoderPool(lambda choice: RemoteEncoder(choice, embedder))
        self._service, self._hosts = Service(settings, pool), settings.hosts
        await anyio.to_thread.run_sync(self._service.open)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """For Ray Serve."""
        return build_app(self._service, hosts=self._hosts)


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application, for a Serve configuration.

    Args:
        arguments: those of `ClusterSettings`.

    Raises:
        QpertError: arguments that do not fit, or no token.
    """
    try:
        settings = ClusterSettings.model_validate(arguments)
    except ValueError as error:
        raise QpertError(f"the arguments of the application do not fit: {error}") from error
    if settings.token_file is not None:
        settings = settings.model_copy(update={"token": read_token(settings.token_file)})
    if settings.token is None and not settings.without_token:
        raise QpertError(
            "whoever reaches the cluster's port could see all photos: name a token_file, or say without_token: true"
        )
    search: Any = Search  # Ray's decorators have made deployments of the classes
    embedder: Any = Embedder
    if settings.replicas is not None:
        # As many as were asked for, on however few cores.
        search = search.options(num_replicas=settings.replicas, ray_actor_options={"num_cpus": 0})
        embedder = embedder.options(ray_actor_options={"num_cpus": 0})
    application: serve.Application = search.bind(settings, embedder.bind())
    return application
