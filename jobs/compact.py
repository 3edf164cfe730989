"""Compact features: delete rows that count no more, and put small files together.

Examples:
  qpert compact features/
  qpert compact s3://bucket/features

Photos that have changed or are gone leave rows behind that no search finds; this writes their files without them. It
may be cut off at any time: nothing is lost, nothing is there twice, and the next run goes on from there.
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
        place = printable(config.features)
        print(f"nothing to do: {place} has no rows that count no more, and no small files to put together")
        return 0
    print(
        f"wrote {done.after:,} files in the place of {done.before:,}, without {done.dropped:,} rows that count no more"
    )
    return 0
