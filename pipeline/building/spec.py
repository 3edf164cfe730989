"""The options of building an index. Free of FAISS, torch and Ray, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ByteSize, Field, field_validator, model_validator

from pipeline.building.planning import LISTED_SHARD_BYTES, SHARD_BYTES
from pipeline.io.paths import PathText
from pipeline.runs.options import SessionOptions

Kind = Literal["auto", "exact", "ivf-sq8", "ivf-pq", "ivf-rabitq", "photo-pq"]
_SMALLEST_SHARD = 2**10


class _BuildOptions(BaseModel):
    """What to build an index of, and of which kind."""

    features: list[PathText] = Field(
        min_length=1,
        description="folders or URIs of features that qpert index wrote; each gets an index of its own",
        json_schema_extra={"positional": True},
    )
    kind: Kind = Field(
        "auto",
        description="exact: stored vectors, memory-mapped; ivf-sq8: a byte per number; ivf-pq: codes of a few bytes per"
        " vector; ivf-rabitq: a bit per number; photo-pq: such codes photo by photo; auto: exact below 100,000 vectors,"
        " then photo-pq where a photo has 16 vectors or more, else ivf-sq8, and ivf-pq from a million on; of a set that"
        " has an index already, its kind",
    )
    engine: Literal["faiss", "lance"] = Field(
        "faiss",
        description="faiss: what qpert search uses; lance: a Lance table with an index, for LanceDB (pip install"
        " 'qpert[lance]')",
    )
    lists: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="clusters that the vectors are sorted into; a search looks through the nearest of them (default: by"
        " the number of vectors)",
    )
    probes: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="lists that a search looks through: more find more, and take longer; an index that is there only"
        " notes another number (default: by --lists)",
    )
    shortlist: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the photos whose vectors a search of photo-pq looks at: more find more, and take longer;"
        " an index that is there only notes another number (default: 0.05 of 100,000, 0.022 of a million)",
    )
    rescored: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="photos per query that are scored again exactly, at least (default: 100)",
    )
    code_bytes: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="bytes per vector of ivf-pq and photo-pq: fewer save space, and miss more; twice as many must"
        " divide the length of a vector (default: a quarter of it)",
    )
    sample: int | None = Field(
        None,
        ge=1,
        description="vectors to train the lists and codes on, from files chosen at random; an index that is there is"
        " only trained anew by --rebuild (default: 40 per list)",
    )
    keep_vectors: bool = Field(
        True,
        description="keep the stored vectors beside the codes: hits are scored again from them, memory-mapped; without,"
        " from the Parquet files, which takes longer and no further space",
    )
    shard_size: ByteSize | None = Field(
        None,
        description="stored vectors in a shard, the unit of work of a task, such as 256MiB; shards much smaller than it"
        " are merged in later builds (default: 1GiB of kind exact, else 4GiB: a query looks into every shard's lists)",
    )
    variant: str | None = Field(None, description="which embedding, of a set with several (qpert reproduce)")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of the sample and of training")
    rebuild: bool = Field(False, description="train anew and make all shards again, such as after the set has grown")
    out: PathText | None = Field(
        None, description="where --engine lance writes its table (default: search/lance beside the features)"
    )

    @model_validator(mode="after")
    def _lance_has_its_own_kinds(self) -> _BuildOptions:
        if self.engine == "lance" and self.kind == "photo-pq":
            raise ValueError("--engine lance has no kind photo-pq: choose ivf-pq, ivf-sq8, ivf-rabitq or exact")
        return self

    @field_validator("shard_size")
    @classmethod
    def _large_enough(cls, size: ByteSize | None) -> ByteSize | None:
        if size is not None and not _SMALLEST_SHARD <= size <= 2**40:
            raise ValueError("choose a size from 1KiB to 1TiB")
        return size


class BuildSpec(SessionOptions, _BuildOptions):
    """What to build an index of, of which kind, and on which cluster."""

    def shard_bytes(self, *, listed: bool = False) -> int:
        """Bytes of stored vectors in a shard, of an index with inverted lists (`listed`) or without."""
        return int(self.shard_size or (LISTED_SHARD_BYTES if listed else SHARD_BYTES))
