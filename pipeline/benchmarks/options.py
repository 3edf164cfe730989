"""Options of single benchmarks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SizesConfig(BaseModel):
    """The simulated data set of `evaluate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(5000, ge=1, description="photos")
    texts: int = Field(25_000, ge=1, description="captions, one for each photo at least")
    vectors: int = Field(32, ge=1, description="vectors per photo")
    dim: int = Field(256, ge=1, description="length of a vector")


class PassConfig(BaseModel):
    """The passes of `blip2` and `tune`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(364, ge=14, description="side of the square input in pixels")
    images: int = Field(1, ge=1, description="photos in the batch")
    objects: int = Field(6, ge=1, description="boxes per photo")
    repetitions: int = Field(3, ge=1, description="of every pass; the medians are reported")


class OpenClipPassConfig(BaseModel):
    """The passes of `open-clip`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: list[str] = Field(
        ["ViT-B-16-SigLIP2-256", "ViT-SO400M-16-SigLIP2-384", "PE-Core-L-14-336"],
        min_length=1,
        description="names in open_clip",
    )
    images: int = Field(1, ge=1, description="photos in the batch")
    objects: int = Field(6, ge=1, description="boxes per photo")
    repetitions: int = Field(5, ge=1, description="of every pass; the medians are reported")


class GpuConfig(BaseModel):
    """What `gpu` measures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str | None = Field(
        None, description="torch device; cpu rehearses with small models (default: the first GPU)"
    )
    families: list[str] | None = Field(
        None, min_length=1, description="parts of the names of encoders to measure (default: all)"
    )
    batches: list[int] | None = Field(
        None, min_length=1, description="photos per pass, in ascending order (default: 1, 8, 32, 128)"
    )
    objects: int = Field(6, ge=1, description="boxes per photo")
    repetitions: int = Field(3, ge=1, description="of every pass; the medians are reported")
    minutes: float = Field(10, gt=0, description="no further encoder is begun after three quarters of this")


class RivalsConfig(BaseModel):
    """The photos of `rivals`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: int = Field(48, ge=1, description="scenes to encode in every way")
    repetitions: int = Field(3, ge=1, description="of every way, in turn; the medians are reported")


class FarConfig(BaseModel):
    """The bucket of `far`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: int = Field(3000, ge=1, description="photos in each source")
    delay: float = Field(20.0, ge=0, description="milliseconds by which every answer of the bucket is late")
    sources: list[Literal["photos", "tars", "parquet"]] = Field(
        ["photos", "tars", "parquet"], min_length=1, description="kinds of sources"
    )
    runs: bool = Field(True, description="measure runs of the graph as well, not reading alone")
