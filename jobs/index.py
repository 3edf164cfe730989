"""Index photos: find their objects, embed them object-aware, write Parquet features.

Examples:
  qpert index photos/ --out features/                       a folder, with subfolders
  qpert index 's3://bucket/photos/**/*.jpg' --out s3://bucket/features
  qpert index photos.txt --out features/                    a list: one path or URI per line
  qpert index photos.parquet --out features/ --uri-column url --id-column photo_id
  qpert index shards/ --out features/                       webdataset tars
  qpert index photos/ --out plain/ --perturbation none      plain embeddings, to compare with
  qpert index photos/ --out features/ --encoder coca --weights coca_ViT-L-14:laion2b_s13b_b90k --detector yolo11n.pt
  qpert index photos.txt --out features/ --allow-scheme https --root /data        what the list may name
  qpert index photos/ --out features/ --exclude raw '*.tmp.*'                     files and folders to leave out
  qpert index photos/ --out features/ --dry-run             say what would be done

Interrupted? Run the same command again: it goes on where it stopped. Photos added to the source since are indexed too,
photos that have changed are indexed again, and those that are gone are left out of searches (--keep-removed keeps them,
--prune deletes their rows). Files of features that are lost or damaged are made anew.
A photo that cannot be indexed is a row with its reason in the column `error`; all others are indexed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.indexing import (
    check_writable,
    graphs_for,
    identity,
    left_out,
    lost_text,
    machines_for,
    make_manifest,
    plan,
    source_changes,
)
from jobs.options import ACCELERATORS, PATIENCE, WAIT, PerturbationConfig
from jobs.source_options import SourceOptions
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError
from pipeline.io.paths import PathText, WeightsText
from pipeline.printing import printable

if TYPE_CHECKING:
    from pipeline.datasets.photos.found_photos import Listing, Shards
    from pipeline.features.damage import Damage
    from pipeline.features.store import FeatureStore
    from pipeline.runs.index_run import Outcome
    from pipeline.runs.resume import Resume


class FeatureOptions(BaseModel):
    """What is made of the photos, where, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: PathText = Field(
        min_length=1,
        description="folder, glob, list file, Parquet or webdataset tars; local or s3://, gs://, ...",
        json_schema_extra={"positional": True},
    )
    out: PathText = Field(
        min_length=1, description="folder or URI for the features; all nodes of a cluster must see it"
    )
    encoder: str = Field("coca", description="name of the encoder")
    weights: WeightsText | None = Field(
        None, description="weights of the encoder: a tag, a hub id or a path; else miniature"
    )
    detector: DetectorConfig = Field(
        DetectorConfig(), description="how objects are found", json_schema_extra={"short": "model"}
    )
    perturbation: PerturbationConfig = Field(
        PerturbationConfig(), description="how objects act on the embedding", json_schema_extra={"short": "preset"}
    )
    precision: Literal["float16", "float32"] = Field("float16", description="of the stored embeddings; Spark: float32")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="to compute in; auto: what each GPU is good at, float32 on CPUs"
    )
    uri_column: str | None = Field(None, description="Parquet: column that names the photos")
    bytes_column: str | None = Field(None, description="Parquet: column with the encoded photos, such as image.bytes")
    id_column: str | None = Field(None, description="Parquet: column with unique ids")
    limit: int | None = Field(None, ge=1, description="index only the first so many photos")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="photos per call of a model, at most (default: 32 on CPUs, on GPUs what fits); halved when memory"
        " runs out",
    )
    block_size: int | None = Field(None, ge=1, description="photos per unit of work (default: 64 at most)")
    file_size: int | None = Field(
        None,
        ge=1,
        description="photos per Parquet file, the unit of resume; a block at least (default: by the number of photos)",
    )
    max_megapixels: float = Field(100, gt=0, allow_inf_nan=False, description="larger photos are refused")
    allow_truncated: bool = Field(
        False, description="index what can be decoded of photos whose files end early; the column truncated marks them"
    )
    accelerators: list[str] | None = ACCELERATORS
    detect_actors: int | None = Field(None, ge=1, description="actors that detect (default: by the machines)")
    encode_actors: int | None = Field(None, ge=1, description="actors that encode (default: by the machines)")
    detect_gpus: float | None = Field(None, gt=0, description="share of a GPU per detect actor (default: equal parts)")
    encode_gpus: float | None = Field(None, gt=0, description="share of a GPU per encode actor (default: equal parts)")
    wait: float = WAIT
    patience: float = PATIENCE
    device_tolerance: float = Field(
        0.01, gt=0, description="warn when devices embed the same photos further apart (1 - cosine)"
    )
    address: str | None = Field(None, description="Ray cluster to join; auto for the one here (default: RAY_ADDRESS)")
    cpus: int | None = Field(None, ge=1, description="CPU cores for a Ray session started here (default: all)")
    verbose: bool = Field(False, description="show Ray's own messages and progress bars")


class Options(SourceOptions, FeatureOptions):
    """What `qpert index` and `qpert plan` have in common."""


class Config(Options):
    """The options of ``qpert index``."""

    retry_failed: bool = Field(False, description="index photos that failed before once more")
    keep_removed: bool = Field(False, description="photos that the source no longer has stay found")
    prune: bool = Field(False, description="delete the rows of photos that the source no longer has, or has changed")
    strict: bool = Field(False, description="exit with 1 when a photo failed")
    dry_run: bool = Field(False, description="print what would be done and stop")


def run(config: Config) -> int:
    """Index `config.source` into `config.out`."""
    from pipeline.features.fingerprint import as_recorded
    from pipeline.features.store import FeatureStore
    from pipeline.runs.resume import inspect, mend_earlier
    from pipeline.runs.status_line import Counting

    if config.prune and config.keep_removed:
        raise QpertError("choose one of --prune and --keep-removed: photos that are gone are deleted or kept")
    config, photos = checked(config, fetch=not config.dry_run)
    store = FeatureStore(config.out)
    what = as_recorded(store.find_manifest(), identity(config))
    with TemporaryDirectory(prefix="qpert-") as scratch:
        lost: tuple[Damage, ...] = ()
        if not config.dry_run:
            looking = Counting("files of features looked through")
            lost = mend_earlier(store, what, looking)
            looking.end()
        counting, comparing = Counting("photos listed"), Counting("photos compared with their rows")
        resume = inspect(
            store,
            what,
            photos,
            config.limit,
            counting,
            f"{scratch}/photos.parquet",
            whole=same_selection(config, store),
            keep_removed=config.keep_removed,
            compared=comparing,
        )
        comparing.end()
        resume = replace(resume, lost=(*lost, *resume.lost))
        if config.dry_run:
            print(plan(config, resume.photos, what, resume))
            return 0
        if resume.lost:
            print(f"warning: {printable(lost_text(resume.lost))}", file=sys.stderr)
        resume.write(store)
        if resume.manifest is not None and config.retry_failed:
            resume = _without_failures(config, what, resume, store)
        if resume.manifest is not None and resume.todo == 0:
            return _nothing_to_do(config, resume, store)
        return _index(config, resume.photos, what, resume, store)


def same_selection(config: Config, store: FeatureStore) -> bool:
    """Whether the last run looked for photos in the source by the same rules: else those missing are not gone."""
    manifest = store.find_manifest()
    return manifest is None or (config.image_key or None) == (manifest.config.get("image_key") or None)


def _without_failures(config: Config, what: dict[str, Any], resume: Resume, store: FeatureStore) -> Resume:
    from pipeline.runs.resume import inspect

    assert resume.manifest is not None
    with store.lock():
        forgotten = store.forget_failures(resume.manifest.fingerprint)
    print(f"trying {forgotten:,} failed photos again", file=sys.stderr)
    again = inspect(store, what, resume.photos, config.limit, whole=False, keep_removed=config.keep_removed)
    return replace(resume, total=again.total, done=again.done)


def checked(config: Config, *, fetch: bool = True) -> tuple[Config, Listing | Shards]:
    """The options with absolute paths, and the photos that they name.

    Raises:
        QpertError: something in them cannot be, as far as that shows without loading a model.
    """
    from pipeline.datasets.photos.source import find_photos
    from pipeline.detectors import check_detector
    from pipeline.encoders import check_encoder

    check_encoder(config.encoder, config.weights)
    if config.detector.model == "none" and config.perturbation.preset != "none":
        raise QpertError("a perturbation needs objects: choose a --detector, or --perturbation none")
    check_detector(config.detector, fetch=fetch)
    check_writable(config.out)
    photos = find_photos(
        config.source,
        uri_column=config.uri_column,
        bytes_column=config.bytes_column,
        id_column=config.id_column,
        rules=config.rules(),
        out=config.out,
    )
    return with_absolute_paths(config), photos


def with_absolute_paths(config: Config) -> Config:
    """Local weights and annotations by absolute paths: workers, and searches later on, run in other folders."""
    from pipeline.io.model_weights import absolute_weights

    detector = {
        name: absolute_weights(value)
        for name, value in (("model", config.detector.model), ("annotations", config.detector.annotations))
    }
    return config.model_copy(
        update={"weights": absolute_weights(config.weights), "detector": config.detector.model_copy(update=detector)}
    )


def _index(config: Config, photos: Listing | Shards, what: dict[str, Any], resume: Resume, store: FeatureStore) -> int:
    from pipeline.encoders import prepare_environment
    from pipeline.runs.index_run import index_photos
    from pipeline.runs.progress import device_report, summary

    prepare_environment(config.encoder)
    manifest = make_manifest(config, what)
    if resume.manifest is not None:
        print(f"going on in {printable(config.out)}: {resume.done:,} photos are done", file=sys.stderr)
        manifest = manifest.model_copy(update={"vectors": resume.manifest.vectors, "dim": resume.manifest.dim})
    outcome = index_photos(
        graphs_for(config, photos, what, resume.todo),
        manifest,
        store,
        find_machines=machines_for(config),
        todo=resume.todo,
        address=config.address,
        cpus=config.cpus,
        verbose=config.verbose,
    )
    print(summary(outcome.counts, outcome.seconds))
    if outcome.attempts > 1:
        print(f"        (since attempt {outcome.attempts} began; the totals are below)")
    report, _ = device_report(outcome.counts, config.device_tolerance)
    if report:
        print(report)
    for warning in warnings_of(config, outcome):
        print(warning, file=sys.stderr)
    resume.photos.skipped.update(outcome.counts.skipped)
    return _finish(config, resume, outcome.totals, store)


def warnings_of(config: Config, outcome: Outcome) -> list[str]:
    """What a run says loudly at its end: devices that differ too much, and GPUs that it has not used."""
    from pipeline.runs.progress import device_report, gpu_warning

    _, differ = device_report(outcome.counts, config.device_tolerance)
    return [line for line in (differ, gpu_warning(outcome.counts, outcome.machines.gpus, config.accelerators)) if line]


def no_objects(config: Config, totals: dict[str, int]) -> str | None:
    """A warning where objects should act and there are none."""
    if config.perturbation.preset == "none" or totals["photos"] == totals["failed"] or totals["objects"]:
        return None
    return (
        "warning: NO OBJECTS in any photo, so Q-Perturbation changed nothing; is this the right detector"
        f" ({config.detector.model}), and do its annotations have these photos' names?"
    )


def _nothing_to_do(config: Config, resume: Resume, store: FeatureStore) -> int:
    assert resume.manifest is not None
    with store.lock():
        totals = store.note_committed(resume.manifest.fingerprint).counts()
        # The first so many photos are all there, which says nothing of an interrupted run over more.
        state = resume.manifest.state if config.limit else "complete"
        store.write_manifest(resume.manifest.model_copy(update={"state": state, "counts": totals}))
    print(f"nothing to do: all {resume.total:,} photos are indexed")
    return _finish(config, resume, totals, store)


def _finish(config: Config, resume: Resume, totals: dict[str, int], store: FeatureStore) -> int:
    if not totals["photos"]:
        raise QpertError(f"{config.source} holds no photos")  # of tars only reading them tells
    for line in left_out(resume.photos.skipped):
        print(line)
    for line in source_changes(resume, keep_removed=config.keep_removed):
        print(line)
    if config.prune and resume.manifest is not None:
        done = store.compact(merge=False)
        print(f"pruned  {done.dropped:,} rows from {done.before:,} files")
    print(f"{config.out} holds {totals['photos'] - totals['failed']:,} photos with {totals['objects']:,} objects")
    if nothing := no_objects(config, totals):
        print(nothing, file=sys.stderr)
    if not totals["failed"]:
        return 0
    print(
        f"warning: {totals['failed']:,} photos could not be indexed; the column error says why, and --retry-failed"
        " tries them again",
        file=sys.stderr,
    )
    return 1 if config.strict else 0
