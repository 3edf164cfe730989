"""The web app: routes, and around them what every request passes through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI

from pipeline import __version__
from pipeline.serving import clip_back, docs_page, page_files, routes
from pipeline.serving.access import AccessControl
from pipeline.serving.errors import add_error_handlers
from pipeline.serving.limits import RateLimit, RequestLimits
from pipeline.serving.observing import Observer
from pipeline.serving.openapi import complete_openapi
from pipeline.serving.service import Service

_DESCRIPTION = """Search photos by what they show. Errors are `{"error": {"code", "message"}}`."""


def build_app(service: Service, *, hosts: Sequence[str] | None = None) -> FastAPI:
    """The app of a service whose sets are open.

    Args:
        service: what it serves; closed when the app ends.
        hosts: names by which clients may call the server, besides those of this machine; None for any.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.catalogue.start_watching()
        yield
        service.close()

    app = FastAPI(
        title="qpert",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    add_error_handlers(app)
    for part in (routes, clip_back, docs_page, page_files):
        app.include_router(part.router)
    settings = service.settings
    # The last that is added is the first that a request meets.
    app.add_middleware(
        RequestLimits,
        max_body=settings.max_body,
        rate=RateLimit(settings.rate, settings.burst),
        concurrent=settings.concurrent,
        timeout=settings.timeout,
    )
    app.add_middleware(AccessControl, token=settings.token, hosts=hosts)
    app.add_middleware(Observer, metrics=service.metrics)
    complete_openapi(app, token=settings.token is not None)
    return app
