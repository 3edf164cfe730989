"""Serve features: a page and an HTTP API to search them.

Examples:
    qpert serve features
    qpert serve plain q-perturbation --port 9000     two sets, to compare
    qpert serve features --host 0.0.0.0 --token-file token
    qpert serve features --replicas 4                several processes, by Ray Serve

The server listens on this machine alone, unless --host names another address; then clients must know the token in
--token-file. Sets that change are opened anew while it runs.
"""

from __future__ import annotations

from pydantic import ByteSize, ConfigDict, Field, field_validator

from pipeline.errors import QpertError
from pipeline.io.paths import LocalPath, PathText, WeightsText
from pipeline.runs.options import ReadOptions


class Config(ReadOptions):
    """What to serve, to whom, and within which limits; the read options apply to the photos that are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: list[PathText] = Field(
        min_length=1,
        description="folders or URIs that qpert index wrote; a pattern in quotes stands for several, served as one",
        json_schema_extra={"positional": True},
    )
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 for all of this machine")
    port: int = Field(8000, ge=0, le=65535, description="0 for any that is free")
    token_file: LocalPath | None = Field(
        None, description="file with the token that clients must send; needed where others can reach the server"
    )
    allow_host: list[str] = Field(
        [], description="further names by which clients call the server, such as that of a proxy before it"
    )
    name: list[str] = Field([], description="names of the sets, in their order (default: those of the folders)")
    replicas: int | None = Field(
        None, ge=1, le=256, description="serve by Ray Serve with as many processes (default: one, without Ray)"
    )
    weights: WeightsText | None = Field(
        None,
        description="the encoder's weights, if they are files: files that a feature set names are not opened unasked",
    )
    device: str = Field("cpu", description="torch device for queries")
    max_request: ByteSize = Field(
        default_factory=lambda: ByteSize(32 * 2**20), description="larger requests are refused (default: 32MiB)"
    )
    rate: float = Field(
        50, gt=0, allow_inf_nan=False, description="searches a second of one address; short bursts may be faster"
    )
    log_queries: bool = Field(False, description="write the texts that people search for to the log")

    @field_validator("max_request")
    @classmethod
    def _size(cls, size: ByteSize) -> ByteSize:
        if not 2**16 <= size <= 2**30:
            raise ValueError("choose a size from 64KiB to 1GiB")
        return size


def run(config: Config) -> int:
    """Serves until it is stopped; returns 0."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise QpertError(f"serving needs the package {error.name}: pip install 'qpert[serve]'") from error
    from pipeline.serving.access import read_token
    from pipeline.serving.settings import ServeSettings, is_loopback

    if config.token_file is None and not is_loopback(config.host):
        raise QpertError(
            f"--host {config.host} can be reached by others, who could see all photos: name a file with a token that"
            " they must know, --token-file token (make one: openssl rand -hex 32 > token)"
        )
    settings = ServeSettings(
        features=tuple(config.features),
        names=tuple(config.name),
        weights=config.weights,
        device=config.device,
        rules=config.rules(),
        token=None if config.token_file is None else read_token(config.token_file),
        log_queries=config.log_queries,
        max_body=int(config.max_request),
        rate=config.rate,
        burst=max(1, round(4 * config.rate)),
    )
    if config.replicas is None:
        from pipeline.serving.server import serve

        serve(settings, config.host, config.port, hosts=config.allow_host)
    else:
        from pipeline.serving.ray_server import serve_by_ray

        serve_by_ray(settings, config.host, config.port, config.replicas, hosts=config.allow_host)
    return 0
