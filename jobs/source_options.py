"""Options of every verb that reads photos: where these may come from, and which files are meant."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ByteSize, Field, field_validator

from pipeline.io.paths import LocalPath

if TYPE_CHECKING:
    from pipeline.datasets.photos.rules import SourceRules

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class ReadOptions(BaseModel):
    """What may be opened of the photos that lists, tables and feature sets name."""

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
        """The same for those who read."""
        from pipeline.datasets.photos.rules import SCHEMES, SourceRules

        return SourceRules(
            schemes=(*SCHEMES, *self.allow_scheme),
            root=None if self.root is None else os.path.abspath(self.root),
            max_bytes=int(self.max_file_size),
            local_addresses=self.allow_local_addresses,
        )


class SourceOptions(ReadOptions):
    """And which files of a source are meant."""

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
        from pipeline.datasets.photos.patterns import compile_pattern
        from pipeline.errors import QpertError

        for pattern in patterns:
            if not pattern.strip("/"):
                raise ValueError("a pattern is empty")
            try:
                compile_pattern(pattern.strip("/"))
            except QpertError as error:
                raise ValueError(str(error)) from None
        return patterns

    def rules(self) -> SourceRules:
        """The same for those who read."""
        from dataclasses import replace

        return replace(
            super().rules(), include=tuple(self.include), exclude=tuple(self.exclude), image_key=self.image_key
        )
