"""Groups of options that several commands share. Free of torch and Ray, so that ``--help`` is quick."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

from pydantic import BaseModel, ByteSize, ConfigDict, Field, field_validator

from pipeline.datasets.photos.patterns import compile_pattern
from pipeline.datasets.photos.rules import SCHEMES, SourceRules
from pipeline.errors import QpertError
from pipeline.io.paths import LocalPath

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_STUCK = "minutes without progress after which a run counts as stuck and starts again from where it was"


class SessionOptions(BaseModel):
    """Which Ray session a command uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str | None = Field(None, description="Ray cluster to join; auto for the one here (default: RAY_ADDRESS)")
    cpus: int | None = Field(None, ge=1, description="CPU cores for a Ray session started here (default: all)")
    verbose: bool = Field(False, description="show Ray's own messages and progress bars")


class ClusterOptions(SessionOptions):
    """How a command uses the cluster. For existing features, None means what they were indexed with."""

    accelerators: list[str] | None = Field(
        None,
        description="GPU types to use, by Ray's names (A100 GeForce-GTX-1080-Ti), or none (default: those that existing"
        " features were made with, else every GPU)",
    )
    wait: float = Field(
        0, ge=0, description="minutes to wait for the GPU types named; an autoscaling cluster is asked for one of each"
    )
    patience: float | None = Field(None, gt=0, le=10_000, description=f"{_STUCK} (default: that of the features)")

    def cluster_options(self) -> dict[str, Any]:
        """The values of these options alone."""
        return {name: getattr(self, name) for name in ClusterOptions.model_fields}


class RunOptions(ClusterOptions):
    """The same of a command that indexes photos."""

    patience: float = Field(30, gt=0, le=10_000, description=f"{_STUCK}; a process counts as stuck after a third of it")


class AnnotationOptions(BaseModel):
    """How strictly captions and annotated boxes are read."""

    strict_annotations: bool = Field(
        False, description="a bad entry in captions or annotations is an error (default: left out, counted and named)"
    )


class ReadOptions(BaseModel):
    """Which of the photos that lists, tables and feature sets name may be opened."""

    allow_scheme: list[str] = Field(
        [], description="further schemes that lists and tables may name, such as http https (always: file s3 gs hf)"
    )
    allow_local_addresses: bool = Field(False, description="http and https may reach this machine and private networks")
    root: LocalPath | None = Field(
        None, min_length=1, description="local photos must lie in this folder, links resolved"
    )
    max_file_size: ByteSize = Field(
        default_factory=lambda: ByteSize(2**30), description="larger photos are refused, such as 500MB (default: 1GiB)"
    )

    @field_validator("allow_scheme")
    @classmethod
    def _schemes(cls, schemes: list[str]) -> list[str]:
        plain = [scheme.removesuffix("://").lower() for scheme in schemes]
        for scheme in plain:
            if not _SCHEME.fullmatch(scheme):
                raise ValueError("a scheme is what stands before ://, such as http")
        return plain

    @field_validator("max_file_size")
    @classmethod
    def _size(cls, size: ByteSize) -> ByteSize:
        if not 1 <= size <= 2**40:
            raise ValueError("choose a size from 1B to 1TiB")
        return size

    def rules(self) -> SourceRules:
        """Builds the rules that readers follow."""
        return SourceRules(
            schemes=(*SCHEMES, *self.allow_scheme),
            root=None if self.root is None else os.path.abspath(self.root),
            max_bytes=int(self.max_file_size),
            local_addresses=self.allow_local_addresses,
        )


class SourceOptions(ReadOptions):
    """Which files of a source to take, and which of them may be opened."""

    include: list[str] = Field(
        [], description="only files that match one of these patterns, such as '*.jpg' or '2024/**' (default: all)"
    )
    exclude: list[str] = Field([], description="no files and folders that match one of these patterns")
    image_key: str | None = Field(
        None, min_length=1, description="tars: of several images of one key the one with this ending, such as jpg"
    )

    @field_validator("include", "exclude")
    @classmethod
    def _patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            if not pattern.strip("/"):
                raise ValueError("a pattern is empty")
            try:
                compile_pattern(pattern.strip("/"))
            except QpertError as error:
                raise ValueError(str(error)) from None
        return patterns

    def rules(self) -> SourceRules:
        """Builds the rules that readers follow."""
        return dataclasses.replace(
            super().rules(), include=tuple(self.include), exclude=tuple(self.exclude), image_key=self.image_key
        )
