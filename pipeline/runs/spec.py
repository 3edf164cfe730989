"""What a run of indexing makes of which photos, where, and how. Free of torch and Ray, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.detectors.config import DetectorConfig
from pipeline.io.paths import PathText, WeightsText
from pipeline.runs.options import AnnotationOptions, RunOptions, SourceOptions
from pipeline.runs.perturbation_config import IndexPerturbationConfig
from pipeline.stages.multi_config import NO_MULTI, MultiConfig

if TYPE_CHECKING:
    from pipeline.method.settings import Perturbation


class _Features(BaseModel):
    """The features and the work on them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: PathText = Field(
        min_length=1,
        description="folder, glob, list file, Parquet or webdataset tars; local or s3://, gs://, ...",
        json_schema_extra={"positional": True},
    )
    out: PathText = Field(
        min_length=1, description="folder or URI for the features; all nodes of a cluster must see it"
    )
    encoder: str = Field("coca", description="name of the encoder")
    weights: WeightsText | None = Field(
        None, description="weights of the encoder: a tag, a hub id or a path (default: its miniature)"
    )
    image_size: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="resolution of the photos in pixels, a multiple of the model's patches: its positions are"
        " interpolated, and twice the side costs some four times the work or more (default: the model's own)",
    )
    detector: DetectorConfig = Field(
        DetectorConfig(), description="how objects are found", json_schema_extra={"short": "model"}
    )
    perturbation: IndexPerturbationConfig = Field(
        IndexPerturbationConfig(), description="how objects act on the embedding", json_schema_extra={"short": "preset"}
    )
    multi: MultiConfig = Field(
        NO_MULTI,
        description="further vectors of each photo, beside which the perturbation is measured",
        json_schema_extra={"short": "kinds"},
    )
    precision: Literal["float16", "float32"] = Field("float16", description="of the stored embeddings; Spark: float32")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="to compute in; auto: what each GPU is good at, float32 on CPUs"
    )
    uri_column: str | None = Field(None, description="Parquet: column that names the photos")
    bytes_column: str | None = Field(None, description="Parquet: column with the encoded photos, such as image.bytes")
    id_column: str | None = Field(None, description="Parquet: column with unique ids")
    limit: int | None = Field(None, ge=1, description="index only this many photos, the first ones")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="photos per call of a model, at most (default: 32 on CPUs, on GPUs what fits); halved when memory"
        " runs out",
    )
    block_size: int | None = Field(None, ge=1, description="photos per unit of work (default: 64 at most)")
    file_size: int | None = Field(
        None,
        ge=1,
        description="photos per Parquet file, the unit of resume; at least a block (default: by the number of photos)",
    )
    max_megapixels: float = Field(100, gt=0, allow_inf_nan=False, description="larger photos are refused")
    allow_truncated: bool = Field(
        False, description="index what can be decoded of photos whose files end early; the column truncated marks them"
    )
    detect_actors: int | None = Field(None, ge=1, description="actors that detect (default: by the machines)")
    encode_actors: int | None = Field(None, ge=1, description="actors that encode (default: by the machines)")
    detect_gpus: float | None = Field(None, gt=0, description="share of a GPU per detect actor (default: equal parts)")
    encode_gpus: float | None = Field(None, gt=0, description="share of a GPU per encode actor (default: equal parts)")
    device_tolerance: float = Field(
        0.01, gt=0, description="warn when devices embed the same photos further apart (1 - cosine)"
    )


class IndexSpec(AnnotationOptions, SourceOptions, RunOptions, _Features):
    """Everything that `qpert index` can be told about the features to make."""


@dataclass(frozen=True)
class Variants:
    """Several embeddings of each photo from one pass of the backbone, in place of the one of `IndexSpec.perturbation`.

    Attributes:
        settings: the perturbations (None: plain), by the names that the embeddings get.
        with_objects: store object embeddings as well.
        with_tokens: keep the image tokens as well.
        to_come: what the tokens will be perturbed with later; the encoder must have the sites that these name.
    """

    settings: Mapping[str, Perturbation | None]
    with_objects: bool = False
    with_tokens: bool = False
    to_come: tuple[Perturbation, ...] = ()

    @property
    def embeddings(self) -> int:
        """Embeddings in a row, about."""
        return len(self.settings) + (OBJECTS if self.with_objects else 0)


OBJECTS = 6
"""Objects in a photo, on average."""
