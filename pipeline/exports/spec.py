"""The options of an export."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import PathText

Target = Literal["lance", "faiss", "npy", "hf", "csv"]
Rows = Literal["photo", "vector"]
DEFAULT_ROWS: dict[Target, Rows] = {"lance": "photo", "faiss": "vector", "npy": "vector", "hf": "photo", "csv": "photo"}
"""LanceDB and `datasets` take all vectors of a photo in one row; a FAISS index and a matrix have a vector per row."""


class ExportSpec(BaseModel):
    """What to export, in which form, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: list[PathText] = Field(
        min_length=1,
        description="folders or URIs that qpert index wrote, of different photos, or patterns such as 'parts/part-*'",
        json_schema_extra={"positional": True},
    )
    to: Target = Field(
        description="lance: a LanceDB table; faiss: an exact FAISS index; npy: a NumPy array; hf: a folder for Hugging"
        " Face datasets; csv: a table without vectors",
    )
    out: PathText = Field(description="folder (csv: file) to write; it must not exist yet, see --force")
    columns: list[str] | None = Field(
        None,
        min_length=1,
        description="columns of the features to export beside the ids (default: uri width height taken objects)",
    )
    rows: Rows | None = Field(
        None, description="what a row is (default: photo; vector for faiss and npy); a photo may have several vectors"
    )
    pool: Literal["none", "mean"] = Field(
        "none", description="mean: one vector per photo, the mean of its vectors, of length 1; searches find less by it"
    )
    precision: Literal["stored", "float32"] = Field(
        "stored",
        description="float32: vectors are scaled to length 1 once more, in single precision, as for a search (faiss:"
        " always)",
    )
    vectors: bool = Field(False, description="csv: also the vectors, as JSON")
    variant: str | None = Field(None, description="which embedding, of a set with several (qpert reproduce)")
    limit: int | None = Field(None, ge=1, description="only the first N photos")
    force: bool = Field(False, description="replace an earlier export; anything else at --out is never replaced")
