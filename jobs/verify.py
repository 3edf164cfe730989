"""Verify features: read all of a feature set and say what is lost, damaged or twice.

Examples:
  qpert verify features/
  qpert verify s3://bucket/features

Reads every page of every file and its checksum, counts rows, compares shapes, and looks for ids that come twice. Exits
with 1 when something is wrong, and says what to do. What is damaged is noted, so that the same qpert index makes just
those photos anew.
"""

from __future__ import annotations

import sys

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import PathText
from pipeline.printing import printable


class Config(BaseModel):
    """The options of ``qpert verify``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: PathText = Field(
        min_length=1,
        description="folder or URI of features that qpert index wrote",
        json_schema_extra={"positional": True},
    )


def run(config: Config) -> int:
    """Read all of `config.features`."""
    from pipeline.features.store import FeatureStore
    from pipeline.runs.status_line import Counting

    counting = Counting("files read")
    found = FeatureStore(config.features).verify(counting)
    counting.end()
    for remark in found.remarks:
        print(f"note: {printable(remark)}")
    for problem in found.problems:
        print(f"wrong: {printable(problem)}", file=sys.stderr)
    removed = f", {found.removed:,} more rows count no more (qpert compact deletes them)" if found.removed else ""
    print(f"{printable(config.features)}: {found.files:,} files with {found.photos:,} photos are in order{removed}")
    if not found.problems:
        return 0
    print(
        f"{len(found.problems):,} things are wrong; run the same qpert index again, which makes what is lost or damaged"
        " anew",
        file=sys.stderr,
    )
    return 1
