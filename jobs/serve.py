"""Serve features: an HTTP API and a page to search them.

Examples:
    qpert serve features
    qpert serve plain q-perturbation --port 8000
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import PathText


class Config(BaseModel):
    """What to serve."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: list[PathText] = Field(
        min_length=1, description="folders or URIs that qpert index wrote", json_schema_extra={"positional": True}
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, description="0 for a free one")


def run(config: Config) -> int:
    """Serves until it is interrupted."""
    import uvicorn

    from pipeline.serving.app import build_app
    from pipeline.serving.settings import ServeSettings

    app = build_app(ServeSettings(features=tuple(config.features)))
    uvicorn.run(app, host=config.host, port=config.port)
    return 0
