"""Index photos: find their objects, embed them object-aware, write Parquet features.

Examples:
  qpert index photos/ --out features/                       a folder, with subfolders
  qpert index 's3://bucket/photos/**/*.jpg' --out s3://bucket/features
  qpert index photos.txt --out features/                    a list: one path or URI per line
  qpert index photos.parquet --out features/ --uri-column url --id-column photo_id
  qpert index shards/ --out features/                       webdataset tars
  qpert index photos/ --out plain/ --perturbation none      plain embeddings, to compare with
  qpert index photos/ --out features/ --encoder open_clip --weights ViT-B-16-SigLIP2-256:webli      SigLIP2
  qpert index photos/ --out features/ --detector hf:Roboflow/rf-detr-base                           another detector
  qpert index photos/ --out features/ --detector hf:google/owlv2-base-patch16-ensemble --classes "dog" "red kite"
  qpert index photos.txt --out features/ --allow-scheme https --root /data        what the list may name
  qpert index photos/ --out features/ --exclude raw '*.tmp.*'                     files and folders to leave out
  qpert index photos/ --out features/ --part 3/20           one part of twenty: other runs add the others, before,
                                                            at the same time or later; searched as one set
  qpert index photos/ --out features/ --dry-run             say what would be done

Interrupted? Run the same command again: it goes on where it stopped. Photos added to the source since are indexed too,
photos that have changed are indexed again, and those that are gone are left out of searches (--keep-removed keeps them,
--prune deletes their rows). Lost or damaged files of features are made again.
A photo that cannot be indexed is a row with its reason in the column `error`; all others are indexed.

images/s, here and in plan and benchmark, are photos per second of wall-clock time once all actors are at work: starting
Ray, loading models and the first batches are left out. A run too short for that is counted from its first batch on.
"""

from __future__ import annotations

import logging
from typing import Literal

from pydantic import Field

from pipeline.datasets.photos.part import Part
from pipeline.detectors import check_packages
from pipeline.runs.spec import IndexSpec

logger = logging.getLogger(__name__)


class Config(IndexSpec):
    """The options of ``qpert index``."""

    retry_failed: bool = Field(False, description="index photos that failed before once more")
    keep_removed: bool = Field(False, description="photos that the source no longer has stay in use")
    prune: bool = Field(False, description="delete the rows of photos that the source no longer has, or has changed")
    part: str | None = Field(
        None, description="index only one part of the photos, such as 3/20, into a set that as many runs fill together"
    )
    part_by: Literal["photo", "folder"] = Field(
        "photo", description="what is in one part as a whole; by folder, a part need not list the other parts' folders"
    )
    strict: bool = Field(False, description="exit with 1 when a photo failed")
    dry_run: bool = Field(False, description="print what would be done and stop")


def run(config: Config) -> int:
    """Indexes, and prints what was done."""
    check_packages(config.detector)
    from pipeline.runs.index_run import IndexRun  # imports torch and Ray, which `--help` does without

    flags = {name: getattr(config, name) for name in ("retry_failed", "keep_removed", "prune")}
    part = None if config.part is None else Part.parse(config.part, config.part_by)
    index_run = IndexRun(config, **flags, part=part)
    if config.dry_run:
        print(index_run.describe())
        return 0
    report = index_run.run().report
    print("\n".join(report.done))
    for warning in report.warnings:
        logger.warning(warning)
    if report.failures is None:
        return 0
    logger.warning(f"{report.failures}, and --retry-failed tries them again")
    return 1 if config.strict else 0
