"""Verify features: read a whole feature set and report what is lost, damaged or repeated.

Examples:
  qpert verify features/
  qpert verify s3://bucket/features

Reads every page of every file, checks checksums, counts and shapes, and looks for repeated ids. If something is wrong,
exits with 1 and says what to do. Damaged files are recorded, so that the same qpert index indexes just their photos
again. Of the index that searches use, damage is said as well: searches read the features where it cannot be used.
"""

from __future__ import annotations

import logging

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import PathText
from pipeline.printing import printable

logger = logging.getLogger(__name__)


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
    from pipeline.io.locations import Folder
    from pipeline.runs.status_line import Counting
    from pipeline.vectors.checking import check_index

    counting = Counting("files read")
    result = FeatureStore(config.features).verify(counting)
    counting.end()
    for remark in (*result.remarks, *check_index(Folder.open(config.features))):
        print(f"note: {printable(remark)}")
    for problem in result.problems:
        logger.info(f"wrong: {problem}")
    removed = f", {result.removed:,} more rows no longer count (qpert compact deletes them)" if result.removed else ""
    print(f"{printable(config.features)}: {result.files:,} files with {result.photos:,} photos are intact{removed}")
    if not result.problems:
        return 0
    logger.info(
        f"{len(result.problems):,} problems; run the same qpert index again, which replaces what is lost or damaged"
    )
    return 1
