"""The options of ``qpert benchmark search``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from pipeline.io.paths import LocalPath


class SearchOptions(BaseModel):
    """What to search in, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    photos: list[PositiveInt] = Field(
        [20_000], min_length=1, description="simulated photos; several numbers for a curve"
    )
    vectors: int = Field(32, ge=1, le=4096, description="vectors per photo")
    dim: int = Field(256, ge=2, le=4096, description="length of a vector")
    seed: int = Field(0, ge=0, lt=2**31, description="of the simulation")
    texts: int = Field(500, ge=1, le=100_000, description="queries; recall is over the first 200")
    kind: str = Field("auto", description="kind of the index, as qpert build-index takes it; none: no index")
    set: LocalPath | None = Field(
        None, description="measure this feature set instead, as it is, with the texts of --search.captions"
    )
    captions: LocalPath | None = Field(
        None, description="file of texts, a line each, for --search.set and --search.http"
    )
    others: int = Field(
        20_000,
        ge=0,
        description="most photos with which other libraries are measured as well, where installed (usearch, LanceDB):"
        " their indexes take long to build on few cores",
    )
    fetched: int = Field(1000, ge=10, le=100_000, description="rows that other libraries fetch, to be compared again")
    seconds: float = Field(5.0, gt=0, description="of each measurement of queries per second")
    keep: LocalPath | None = Field(
        None, description="existing folder in which simulated sets and indexes are kept for further measurements"
    )
    http: str | None = Field(
        None,
        pattern=r"^http://[^/@]+(/[^@]*)?$",
        description="also ask a running qpert serve, such as http://127.0.0.1:8000, for --search.captions",
    )
    token_file: LocalPath | None = Field(None, description="token that the server demands")
