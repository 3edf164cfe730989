"""The configuration of a command with every kind of option."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.cli.parsing import parse


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("small", description="which model")
    confidence: float = Field(0.25, ge=0, le=1, description="least confidence")
    max_objects: int = Field(10, description="most objects")


class Example(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="where from", json_schema_extra={"positional": True})
    words: list[str] = Field([], description="what for", json_schema_extra={"positional": True})
    out: str = Field(description="where to")
    inner: Inner = Field(Inner(), description="the inner part", json_schema_extra={"short": "model"})
    kind: Literal["a", "b"] = Field("a", description="which kind")
    top_k: int = Field(10, description="how many", json_schema_extra={"flag": "-k"})
    kinds: list[str] | None = Field(None, description="several")
    dry_run: bool = Field(False, description="do nothing")


def example(*words: str) -> Example:
    config = parse(Example, list(words), verb="example")
    assert config is not None
    return config
