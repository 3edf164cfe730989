"""The options of an evaluation. Free of torch and Ray, so that `--help` is quick."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import LocalPath, PathText, WeightsText
from pipeline.runs.options import AnnotationOptions, ClusterOptions, ReadOptions

CANDIDATES = 128
"""LAVIS' k_test."""


class _Evaluation(BaseModel):
    """Which features, which captions, and what to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: PathText = Field(
        description="folder or URI that qpert index wrote, or a pattern such as 'parts/part-*' for several",
        json_schema_extra={"positional": True},
    )
    further: list[PathText] = Field(
        default_factory=list,
        description="more of them, of other photos and the same encoder: all are one gallery",
        json_schema_extra={"positional": True},
    )
    captions: LocalPath | None = Field(
        None,
        description="captions: Karpathy, LAVIS or COCO JSON, a table (.csv, .tsv, .jsonl, .parquet), results.token, or "
        "a folder (SORCE-1K, Urban-1k, DCI)",
    )
    queries: Literal["captions", "objects"] = Field(
        "captions", description="objects: the names of the annotated classes instead, each with many right photos"
    )
    template: str = Field("{}", description='objects: the text of a query, such as "a photo of a {}"')
    split: str = Field("test", description="the split to evaluate, if the captions have splits; all for every image")
    annotations: LocalPath | None = Field(
        None,
        description="size bins by these boxes instead of the indexed objects: Flickr30K Entities folder, "
        "COCO or LVIS instances, COCO Entities JSON, DCI folder, or a feature set",
    )
    against: PathText | None = Field(
        None, description="features of the same photos to compare with (the baseline); also a pattern"
    )
    rerank: bool = Field(False, description="order the best by image-text matching as well (BLIP-2)")
    rerank_k: int | None = Field(None, ge=1, description="how many of the best to re-rank (default: 128)")
    k: list[int] = Field([1, 5, 10], min_length=1, description="the K of Recall@K", json_schema_extra={"flag": "-k"})
    samples: int = Field(2000, ge=100, description="resamples of the bootstrap intervals")
    seed: int = Field(0, ge=0, description="seed of the resamples")
    variant: str | None = Field(None, description="which embedding, of a set with several (qpert reproduce)")
    against_variant: str | None = Field(None, description="the same for --against")
    views: list[Literal["whole", "region", "crop", "tile", "cluster", "object"]] | None = Field(
        None,
        min_length=1,
        description="the views that count, of a set with several per photo (index --multi), such as whole region; a"
        " photo without any of them counts as a whole (default: all)",
    )
    combine: Literal["max", "gate", "sum"] = Field(
        "max",
        description="max: the best of the views; sum: whole photo plus the best of the others; gate: the whole photo's"
        " score where it reaches --gate, else mixed with that of a better view",
    )
    gate: float = Field(
        0.25, ge=-1, le=1, allow_inf_nan=False, description="threshold of --combine gate; cosines depend on the model"
    )
    image_column: str | None = Field(None, description="captions in a table: column of file names, if unusual")
    caption_column: str | None = Field(None, description="captions in a table: column of captions, if unusual")
    weights: WeightsText | None = Field(
        None, description="the encoder's weights, if they are files: files that a feature set names are not opened"
    )
    against_weights: WeightsText | None = Field(None, description="the same for --against, if they differ")
    device: str = Field("cpu", description="torch device for the captions")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="of the text encoder; bfloat16 halves the memory of a large one"
    )


class EvaluationSpec(AnnotationOptions, ReadOptions, ClusterOptions, _Evaluation):
    """Everything about an evaluation but its reports.

    Re-ranking opens photos again, by the read options, and runs actors over them, by those of the cluster.
    """

    address: str | None = Field(None, description="Ray cluster to measure on; otherwise RAY_ADDRESS, or this process")

    def scoring(self) -> dict[str, Any]:
        """How `evaluate` combines the views of a photo."""
        return {"views": self.views, "combine": self.combine, "gate": self.gate}

    @property
    def candidates(self) -> int | None:
        """Number of best answers to re-rank; None without re-ranking."""
        return (self.rerank_k or CANDIDATES) if self.rerank else None
