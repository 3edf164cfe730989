"""The options of a search. Free of torch and Ray, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.datasets.scenes.scene import Profile
from pipeline.detectors.config import DetectorConfig
from pipeline.io.paths import LocalPath, PathText, WeightsText
from pipeline.runs.options import AnnotationOptions, RunOptions
from pipeline.runs.perturbation_config import PerturbationConfig

FIELDS = (
    *("operator", "combine", "tokens", "weight", "scale", "threshold", "min_components", "sites", "artefacts"),
    *("pca", "background", "norm", "boxes"),
)
"""The fields of a perturbation that can be searched, as options of the same names."""


class _Tuning(BaseModel):
    """What to search, on what, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText = Field(
        "tuning", description="folder or bucket for tokens, features and reports; all nodes must see it"
    )
    images: PathText | None = Field(None, description="folder of the photos (with subfolders); default: draw scenes")
    captions: LocalPath | None = Field(None, description="captions in any form that qpert evaluate reads")
    annotations: LocalPath | None = Field(None, description="true boxes in any form that qpert evaluate reads")
    split: str = Field("val", description="split of the captions to search on")
    confirm_split: str = Field("test", description="split of the captions for the confirming run; none leaves it out")
    encoder: str | None = Field(None, description="name of the encoder (default: every one that has a miniature)")
    weights: WeightsText | None = Field(None, description="its weights (default: its miniature)")
    detector: DetectorConfig | None = Field(
        None, description="how objects are found (default: true boxes)", json_schema_extra={"short": "model"}
    )
    metric: str = Field(
        "R@1",
        description="metric to maximise: 10%, R@1, R@5, R@10, mR@1 ..., or i2t and one of these; or 'own-minus-shuffled"
        " METRIC': what own boxes give beyond other photos' (without METRIC: R@1)",
    )
    draws: int = Field(
        3, ge=1, le=100, description="own-minus-shuffled: draws of other photos' boxes that every trial averages"
    )
    may_lose: float = Field(
        0, ge=0, le=100, description="own-minus-shuffled: points of R@1 that the best may be below plain"
    )
    operator: list[str] | None = Field(None, description="values to try, of subspace, orthogonal, scaled, ...")
    combine: list[str] | None = Field(None, description="values to try, of sum, mean")
    tokens: list[str] | None = Field(None, description="values to try, of overlap, coverage")
    weight: list[str] | None = Field(None, description="values to try, of constant, area, 1-area, area-0.5, 0.5-area")
    scale: list[str] | None = Field(None, description="values to try, or one range, LOW:HIGH or LOW:HIGH:log")
    threshold: list[str] | None = Field(None, description="values to try, or one range")
    min_components: list[str] | None = Field(None, description="values to try, of 0, 1")
    sites: list[str] | None = Field(None, description="values to try: all, or numbers and names as 0,2,qllama.*")
    artefacts: list[str] | None = Field(None, description="values to try, of keep, drop")
    pca: list[str] | None = Field(None, description="values to try, of uncentred, centred, background-out")
    background: list[str] | None = Field(None, description="values to try, or one range")
    norm: list[str] | None = Field(None, description="values to try, of free, keep")
    boxes: list[str] | None = Field(None, description="values to try, of own, shuffled, elsewhere")
    perturbation: PerturbationConfig = Field(
        PerturbationConfig(), description="the fields that are not searched", json_schema_extra={"short": "preset"}
    )
    search: str = Field("grid", description="grid, random, or one of Ray Tune's searchers, such as optuna")
    search_options: str = Field("{}", description="its arguments, as JSON")
    trials: int = Field(50, ge=1, description="number of settings, unless the search is a grid")
    scheduler: str = Field("fifo", description="fifo, asha, or another of Ray Tune's schedulers")
    scheduler_options: str = Field("{}", description="its arguments, as JSON")
    shares: list[float] = Field([1.0], min_length=1, description="growing shares of the photos to measure a trial on")
    concurrent: int = Field(4, ge=1, description="trials at a time; each is a process that waits")
    cache_limit: float = Field(50, gt=0, description="GB of image tokens that may be kept")
    rerank: bool = Field(False, description="BLIP-2: re-rank the confirming run by image-text matching as well")
    rerank_k: int = Field(128, ge=1, description="how many of the best to re-rank")
    scenes: int = Field(1000, ge=50, description="without --images: number of scenes to search on, and to confirm on")
    profile: Profile = Field("balanced", description="without --images: what the scenes show and name")
    samples: int = Field(2000, ge=100, description="bootstrap resamples of each interval")
    seed: int = Field(0, description="seed of random searchers and of the bootstrap")
    batch_size: int = Field(32, ge=1, description="photos per call of a model; halved when GPU memory runs out")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="number format to compute in, and of the tokens"
    )
    device: str = Field("cpu", description="torch device for the texts")


class TuningSpec(AnnotationOptions, RunOptions, _Tuning):
    """Everything that `qpert tune` can be told about a search."""
