"""What `qpert plan --simulate` is told: the machines, their speed, what fails, and the prices of the store."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

_NUMBER = re.compile(r"(.+)=(\d+(?:\.\d+)?)")


class SimulateConfig(BaseModel):
    """A cluster that is simulated, with figures that are given or made up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: tuple[str, ...] = Field(
        (), description="GPUs of each type, such as A100=400 GeForce-GTX-1080-Ti=400: simulate, rather than measure"
    )
    encode: tuple[str, ...] = Field(
        (),
        description="photos per second that a GPU of each type encodes, such as A100=100, beside detecting",
    )
    detect: tuple[str, ...] = Field((), description="the same of detecting (default: objects are not detected)")
    per_node: int = Field(4, ge=1, description="GPUs per machine")
    cores: int = Field(32, ge=4, description="CPU cores per machine")
    parts: int = Field(1, ge=1, le=10_000, description="parts of the photos (qpert index --part), each with a driver")
    at_once: int = Field(1, ge=1, description="parts at the same time, each on an equal share of the machines")
    failures: float = Field(0.01, ge=0, le=100, description="failures of each machine per day")
    replaced: float = Field(10, ge=0, description="minutes until a failed machine is replaced")
    seed: int = Field(0, description="of the times at which machines fail")
    tars: bool = Field(False, description="photos are in tars of 1,000, not in files of their own")
    photo_size: float = Field(150, gt=0, description="kB of a photo")
    latency: float = Field(50, ge=0, description="milliseconds until the store answers a request")
    bandwidth: float = Field(50, gt=0, description="MB per second of one reader")
    listed: float = Field(20_000, gt=0, description="photos per second that the store lists")
    put_price: float = Field(0.005, ge=0, description="of 1,000 requests that write, copy or list, as of S3 Standard")
    get_price: float = Field(0.0004, ge=0, description="of 1,000 requests that read, as of S3 Standard")
    gb_price: float = Field(0, ge=0, description="of reading a GB: none within a region, 0.09 out of S3")
    month_price: float = Field(0.023, ge=0, description="of keeping a GB of features for a month, as of S3 Standard")

    @field_validator("gpus", "encode", "detect", mode="before")
    @classmethod
    def _list(cls, texts: object) -> object:
        """Accepts a single text as well."""
        return (texts,) if isinstance(texts, str) else texts

    @field_validator("gpus", "encode", "detect")
    @classmethod
    def _numbers(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            if not _NUMBER.fullmatch(text):
                raise ValueError(f"{text!r}: write NAME=NUMBER, such as A100=400")
        return texts


def by_name(texts: Sequence[str]) -> dict[str, float]:
    """``A100=400`` and others as numbers by name."""
    return {name: float(number) for name, _, number in (text.rpartition("=") for text in texts)}
