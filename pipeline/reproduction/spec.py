"""The options of a reproduction. Free of torch and Ray, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pipeline.datasets.scenes.scene import Profile
from pipeline.detectors.config import DetectorConfig
from pipeline.io.paths import LocalPath, PathText, WeightsText
from pipeline.runs.options import AnnotationOptions, RunOptions
from pipeline.runs.perturbation_config import PerturbationConfig


class ReproductionSpec(AnnotationOptions, RunOptions):
    """What to reproduce, with which models, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["miniature", "flickr30k", "coco"] = Field("miniature", description="the data set")
    out: PathText = Field(
        "reproduction", description="folder or bucket for features and reports; all nodes must see it"
    )
    images: PathText | None = Field(None, description="folder of the photos (with subfolders)")
    captions: LocalPath | None = Field(None, description="captions in any form that qpert evaluate reads")
    annotations: LocalPath | None = Field(None, description="true boxes in any form that qpert evaluate reads")
    table: Literal["all", "paper", "proof"] = Field(
        "all",
        description="paper: tables A to D and figures A and B; proof: the method against its controls; all: both",
    )
    split: str = Field("test", description="split of the captions; all for every image")
    encoder: str | None = Field(None, description="name of the encoder (miniature: every one that has a miniature)")
    weights: WeightsText | None = Field(None, description="its weights (default: its miniature)")
    detector: DetectorConfig = Field(
        DetectorConfig(),
        description="detector to compare with the true boxes",
        json_schema_extra={"short": "model"},
    )
    perturbation: PerturbationConfig | None = Field(
        None,
        description="the chosen perturbation (default: of Table A constant, 10, 0.9, for miniatures chosen on other"
        " scenes; of the table of proof qpert)",
        json_schema_extra={"short": "preset"},
    )
    rerank_k: int | None = Field(
        None, ge=1, description="BLIP-2: how many of the best to re-rank by matching (default: 128; miniature: 16)"
    )
    scenes: int = Field(1000, ge=50, description="miniature: number of scenes, of each series")
    profile: Profile = Field("balanced", description="miniature: what the scenes show and name")
    series: list[int] = Field(
        [3, 4],
        min_length=1,
        description="miniature: series of scenes for the table of proof, pooled and each by itself; 1 and 2 have been"
        " looked at",
    )
    rivals: list[Literal["regions", "crops", "tiles", "clusters", "objects", "hi-res", "none"]] = Field(
        ["regions", "crops", "tiles", "clusters", "objects", "hi-res"],
        min_length=1,
        description="proof: further vectors of each photo to compare with (see qpert index --multi), hi-res: twice the"
        " resolution; or none",
    )
    draws: int = Field(3, ge=1, le=100, description="proof: seeds that a row with random boxes or subspaces averages")
    samples: int = Field(2000, ge=100, description="bootstrap resamples of each interval")
    seed: int = Field(0, description="seed of the bootstrap")
    device: str = Field("cpu", description="torch device of Table B and of the texts")
