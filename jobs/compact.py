"""Compact features: delete rows that no longer count, and combine small files.

Examples:
  qpert compact features/
  qpert compact s3://bucket/features

Photos that have changed or are gone leave rows behind that no search finds; this rewrites their files without them. It
may be interrupted at any time: nothing is lost or repeated, and the next run continues.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import PathText
from pipeline.printing import printable


class Config(BaseModel):
    """The options of ``qpert compact``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: PathText = Field(
        min_length=1,
        description="folder or URI of features that qpert index wrote",
        json_schema_extra={"positional": True},
    )


def run(config: Config) -> int:
    """Compact `config.features`."""
    from pipeline.features.store import FeatureStore
    from pipeline.runs.status_line import Counting

    counting = Counting("files replaced")
    done = FeatureStore(config.features).compact(counted=counting)
    counting.end()
    if not done.before:
        print(f"nothing to do: {printable(config.features)} has neither removed rows nor small files to combine")
        return 0
    print(f"replaced {done.before:,} files by {done.after:,}, without {done.dropped:,} rows that no longer count")
    return 0
