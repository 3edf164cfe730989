"""How a server is set up: the same for one process and for replicas on a cluster."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules


class ServeSettings(BaseModel):
    """What is served, and within which limits.

    Attributes:
        features: paths, URIs or patterns of feature sets.
        names: of the sets, if not those of their folders.
        weights: the encoder's weights, if they are files.
        device: torch device of the encoder.
        dtype: number format of the encoder.
        rules: which photos may be opened.
        token: what clients must know; None: nothing.
        log_queries: write the texts of queries to the log.
        max_body: bytes of a request.
        rate: POST requests a second of one address, on average.
        burst: POST requests that an address may make at once.
        concurrent: requests worked on at once; some more wait, others are refused.
        timeout: seconds for a request.
        reload: seconds between looks for changes of the sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[str, ...] = Field(min_length=1)
    names: tuple[str, ...] = ()
    weights: str | None = None
    device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    rules: SourceRules = DEFAULT_RULES
    token: str | None = Field(None, repr=False)
    log_queries: bool = False
    max_body: int = Field(32 * 2**20, ge=1024)
    rate: float = Field(50.0, gt=0)
    burst: int = Field(200, ge=1)
    concurrent: int = Field(64, ge=1)
    timeout: float = Field(60.0, gt=0)
    reload: float = Field(2.0, gt=0)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
