"""Build an index of features, with which qpert search answers in milliseconds.

Examples:
    qpert build-index features/                                    the kind by size: see below
    qpert build-index features/ --dry-run                          kind, shards, bytes and time, and stop
    qpert build-index part-00 part-01 's3://bucket/features'       several sets, an index each
    qpert build-index features/ --kind ivf-pq --code-bytes 32      short codes: 40 bytes per vector
    qpert build-index features/ --kind ivf-rabitq --no-keep-vectors      the smallest
    qpert build-index features/ --address auto                     on the Ray cluster that this machine is part of
    qpert build-index features/ --engine lance                     a Lance table and index, for LanceDB

Without an index, search compares every photo. An index sorts the vectors into lists of neighbours, keeps short codes of
them, and looks only through the lists nearest to the query; the best photos by code are then scored again exactly, so
their scores and order are those of the full search. What can be missed is a photo whose list was not looked through.

    kind         bytes per vector of D numbers    when
    exact        2 D                              below 100,000 vectors, or where nothing may be missed
    ivf-sq8      D + 8                            below a million: codes so fine that hardly any order changes
    ivf-pq       D / 4 + 8, or --code-bytes + 8   above: two bits a number, quick to compare
    ivf-rabitq   D / 8 + 16                       where space is shortest: coarse codes, more photos to score again

--keep-vectors (the default) adds the 2 D of exact, on disk only.

The index is written to FEATURES/search/, in shards made of whole features files. Photos that were added since are found
all the same, by comparing them one by one; run the same command again, and it makes shards of the new files only.
Removed photos are never found. A build that was interrupted goes on with the shards that it has made; searches use the
old index until the new one is complete, and a running qpert serve changes over by itself.

The work is done in this process while that takes less than a few minutes, else on Ray, started here; on a cluster
(--address, RAY_ADDRESS, a submitted job) always there: a task makes a shard, in bounded memory.
"""

from __future__ import annotations

import logging

from pydantic import Field

from pipeline.building.spec import BuildSpec
from pipeline.printing import printable

logger = logging.getLogger(__name__)


class Config(BuildSpec):
    """The options of ``qpert build-index``."""

    dry_run: bool = Field(False, description="print what would be done and stop")


def run(config: Config) -> int:
    """Builds the indexes, and prints what was done."""
    from pipeline.building.building_sets import build_indexes, describe_builds  # loads Arrow, which --help does without

    if config.dry_run:
        for line in describe_builds(config):
            print(printable(line))
        return 0
    for report in build_indexes(config):
        print(report.text())
        for note in report.notes:
            logger.warning(note)
    return 0
