"""Find near-duplicates and identical copies among indexed photos. Nothing is deleted or changed.

Examples:
    qpert duplicates features
    qpert duplicates features --threshold 0.95 --html duplicates.html
    qpert duplicates features more-features --format csv --output duplicates.csv
    qpert duplicates features --bytes                       (files with the same bytes, at once)
    qpert duplicates features --dry-run                     (how long it takes, and how much memory)

A group has a first photo, the largest or the oldest (--first), and those that are similar to it: of photos with one
vector each, the similarity is their cosine; of others, the lower of both means of each vector's best cosine with the
other photo's vectors. A photo that is similar to others of a group but not to its first is not in that group. What
similarity near-duplicates have depends on the encoder: look at some groups before you choose --threshold.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from pydantic import Field, model_validator

from pipeline.duplicates.formats import Comparison, Format, Preference
from pipeline.errors import QpertError
from pipeline.io.paths import LocalPath, PathText, ReportPath
from pipeline.printing import printable
from pipeline.runs.options import ReadOptions

if TYPE_CHECKING:
    from pipeline.duplicates.finding import Duplicates

logger = logging.getLogger(__name__)


class Config(ReadOptions):
    """The options of ``qpert duplicates``; the read options apply to the report, which shows the photos."""

    features: list[PathText] = Field(
        min_length=1,
        description="folders, URIs or patterns of features that qpert index wrote; photos of all are compared",
        json_schema_extra={"positional": True},
    )
    threshold: float = Field(
        0.98, gt=0, le=1, allow_inf_nan=False, description="similarity from which on photos count as near-duplicates"
    )
    same_bytes: bool = Field(
        False,
        description="find only files with the same bytes, by the digests in the features",
        json_schema_extra={"flag": "--bytes"},
    )
    first: Preference = Field("largest", description="which photo of a group is its first, to which others are similar")
    compare: Comparison = Field(
        "auto",
        description="all: every pair; index: the nearest that the index of qpert build-index finds, less exact; auto:"
        " all, unless that takes over an hour and there is an index",
    )
    variant: str | None = Field(None, description="which embedding, of a set with several (qpert reproduce)")
    resume: LocalPath | None = Field(
        None, description="keep the comparison in this file while it runs, and go on from it if it was interrupted"
    )
    cache: bool = Field(True, description="keep a copy of the vectors beside the features that is quicker to read")
    dry_run: bool = Field(False, description="only say how long the comparison takes, and how much memory")
    format: Format = Field("table", description="table for people; json or csv, with all groups, for programs")
    print_json: bool = Field(False, description="the same as --format json", json_schema_extra={"flag": "--json"})
    output: ReportPath | None = Field(None, description="write to this file instead of stdout")
    html: ReportPath | None = Field(None, description="write a report with thumbnails to this file")
    groups: int = Field(20, ge=0, description="most groups in the table and in the report")

    @model_validator(mode="after")
    def _together(self) -> Config:
        if self.same_bytes and (self.resume is not None or self.compare != "auto"):
            raise ValueError("--bytes compares no vectors: leave --compare and --resume out")
        if self.print_json and self.format == "csv":
            raise ValueError("--json and --format csv are two formats: leave one out")
        return self

    @property
    def form(self) -> Format:
        """In which format to report."""
        return "json" if self.print_json else self.format


def run(config: Config) -> int:
    """Finds and reports duplicates; returns 0, whether there are any or not."""
    found = _same_bytes(config) if config.same_bytes else _similar(config)
    if found is not None:
        for note in found.notes:
            logger.warning(note)
        _report(config, found)
    return 0


def _same_bytes(config: Config) -> Duplicates | None:
    # Imported inside functions, because --help and refusals must not wait for pyarrow.
    from pipeline.duplicates.finding import find_same_bytes
    from pipeline.features.feature_set import FeatureSet
    from pipeline.retrieval.several_sets import find_sets

    sets = [FeatureSet.open(root, config.variant) for root in find_sets(config.features)]
    if config.dry_run:
        print("files with the same bytes are found by the digests in the features, in seconds; no vectors are read")
        return None
    return find_same_bytes(sets, config.first)


def _similar(config: Config) -> Duplicates | None:
    from pipeline.duplicates.estimate import estimate
    from pipeline.duplicates.finding import chosen_comparison, find_similar
    from pipeline.features.miniatures import warning_of
    from pipeline.retrieval.several_sets import open_sets
    from pipeline.runs.status_line import Counting
    from pipeline.vectors.opening import open_snapshot

    sets = open_sets(config.features, config.variant)
    for warning in dict.fromkeys(filter(None, (warning_of(one.manifest) for one in sets))):
        logger.warning(warning)
    snapshots = [open_snapshot(one, cache=config.cache and not config.dry_run) for one in sets]
    for note in dict.fromkeys(note for snapshot in snapshots for note in snapshot.notes):
        logger.warning(note)
    if config.dry_run:
        by_index = chosen_comparison(snapshots, config.compare)
        print(estimate(sum(int(snapshot.live.sum()) for snapshot in snapshots)).text())
        if by_index:
            print("the index would be used instead, which takes about as long as a search for every photo")
        return None

    reading, grouping = Counting("photos read"), Counting("photos compared")
    try:
        return find_similar(
            snapshots,
            config.threshold,
            config.first,
            config.compare,
            state=config.resume,
            reading=reading,
            grouping=grouping,
        )
    finally:
        reading.end()
        grouping.end()


def _report(config: Config, found: Duplicates) -> None:
    from pipeline.duplicates.report import as_csv, as_json, as_text, gallery_sections, summary
    from pipeline.reports import write_gallery

    pieces: Iterable[str]
    with _opened(config.output) as file:
        if config.form == "json":
            pieces = as_json(found, None if config.output else sys.stdout.encoding)
        elif config.form == "csv":
            pieces = as_csv(found)
        else:
            pieces = (f"{line}\n" for line in as_text(found, config.groups))
        for piece in pieces:
            file.write(piece)
    if config.html is not None:
        sections = gallery_sections(found, config.groups)
        write_gallery(config.html, "Duplicates", sections, subtitle=summary(found), rules=config.rules())
    if config.form == "table" or config.output is not None:
        for path in filter(None, (config.output, config.html)):
            print(f"report: {printable(path)}")


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise QpertError(f"cannot write {path}: {error.strerror or error}") from error
